// Testnet runs an enterprise on one machine.
package main

func main() {}
