package node

// openAtOnce is for systems with pipes in folders.
const openAtOnce = 0
