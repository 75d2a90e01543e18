// A request/reply function: one reply to each record.
module.exports = (x) => x * x;
