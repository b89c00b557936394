package scenario

import "embed"

// Files has the scenarios that testnet/play plays, NAME.scenario each.
//
//go:embed *.scenario
var Files embed.FS
