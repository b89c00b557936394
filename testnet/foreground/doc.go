// Package foreground plays the users of a branch, and tells what they felt: the
// traffic that ours must not disturb.
//
// A Server stands in the data centre; Run is at the branch and does one or more of
//
//	bulk   one TCP connection that takes all it gets, towards the branch
//	web    pages one after the other, with time to read: a document, then its
//	       objects over four connections; what counts is the time of a page
//	voip   a call in G.711: 50 packets a second each way, 200 bytes in IP; what
//	       counts is delay, jitter, loss, and the mean opinion score of it all
//
// What is asked for (sizes, pauses) follows from a seed. So the same run can be had
// twice, alone and beside something else, and Compare says what the difference was.
//
// One-way delays are the difference of two readings of the wall clock, and so only
// right where both ends are on one machine, in whatever containers or namespaces.
//
// Which traffic when, and what may become of it, is left to testnet/play.
package foreground
