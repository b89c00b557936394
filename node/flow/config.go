package flow

// DefaultFlying is Config.Flying's default.
const DefaultFlying = 64 << 20
