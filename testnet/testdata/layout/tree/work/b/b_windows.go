//go:build windows && never

package b

import _ "example.org/bad/testnet"
