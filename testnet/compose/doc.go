// Package compose is the enterprise in a box made of containers: for everyone who
// has Docker, on a laptop or in CI.
//
// A Setup becomes a compose file (File), which docker-compose 1.29 and compose v2
// both take; docker-compose.yml in this folder is that of the default Setup, to be
// read, and used by hand. Each site is a bridge network, the WAN one more. A site's
// router is a container with a foot in both, which emulates the link between them.
// A node has no capabilities, can write to nothing but its data folder, and knows no
// way out but its site's router, which knows none out of the box.
//
// Docker knows a default route only to its own bridge, that is to the host, unless
// the network reserves an address under the name DefaultGatewayIPv4: so a
// container leads to its site's router from its first moment, and also once it has
// been moved to another site, without a right to change routes.
//
// Up builds the image and starts all of it; Attach finds what stands; Down takes
// everything away, by the labels that all of it carries, whoever started it and
// however that ended. At any time one testnet stands on a Docker engine, because the
// addresses are the same for all. The Enterprise that Up and Attach return acts by
// the docker command and, where things are asked often, by the window: the one
// container that answers on the host (testnet/compose/inside).
package compose
