// Package inside is what runs inside of the containers beside p2pnode itself, as
// `testnet NAME ...`; people have no use for it elsewhere.
//
// Two of them make an enterprise of the containers: Invite asks the publisher for a
// token for each site, and Endpoint joins with it and then becomes p2pnode. Window
// shows every node's API at one address of the host.
//
// The others are for one moment: Cable pulls a machine's cable and puts it back,
// Outside tries to get out of the box, Disk fills one, Usage reads what p2pnode
// takes, Leash ends a command when whoever asked for it has gone.
//
// All of it is in an image from scratch: there is no shell and no ip command.
package inside
