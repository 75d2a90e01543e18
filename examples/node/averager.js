// A streaming function: the average of all numbers of a window, at the window's end.
module.exports = (inputs, outputs) => {
    let sum = 0, count = 0;
    const { 0: numbers } = inputs.$order, { 0: averages } = outputs.$order;
    numbers.on("data", (number) => {
        sum += Number(number.payload);
        count += 1;
    });
    numbers.on("end", () => {
        if (count > 0) averages.write((sum / count).toFixed(1));
        averages.end();
    });
};
module.exports.$interactionModel = "node-streams";
