// Package testnet is in no table.
package testnet
