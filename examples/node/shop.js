// Two inputs, two outputs: orders and refunds of a window, each answered at once on `receipts`, and
// their balance on `balance` at the window's end.
module.exports = (inputs, outputs) => {
    const { orders, refunds } = inputs, { receipts, balance } = outputs;
    let sum = 0, open = 2;
    const take = (sign) => (record) => {
        sum += sign * record.payload.amount;
        receipts.write({ amount: sign * record.payload.amount });
    };
    const ended = () => {
        if (--open > 0) return;
        balance.write({ balance: sum });
        receipts.end();
        balance.end();
    };
    orders.on("data", take(1)).on("end", ended);
    refunds.on("data", take(-1)).on("end", ended);
};
module.exports.$interactionModel = "node-streams";
