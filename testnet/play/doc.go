// Package play plays a scenario: it makes things happen in an enterprise in a box,
// writes down what came of them, and says which service levels held.
//
// A Scenario is a short text file, testnet/scenario/NAME.scenario. Parse reads it.
// A line is one thing; what stands behind # is for people:
//
//	branches 2, peers 5                                what stands in the box
//	link up rate=20mbit delay=20ms buffer=200ms        branches to the WAN (testnet/wan has the keys)
//	link down rate=20mbit delay=20ms buffer=200ms      and from it; hq up, hq down: headquarters
//	off branch-a-5                                     not started at the beginning
//	limit 2m                                           what hasn't happened by then never does
//	content image 16MiB                                a file that nobody can compress
//	content next from image 5% changed                 the same with some of it overwritten
//	content patch 2MiB priority urgent                 for levels to be about; nodes have no word for it yet
//
//	at 0s                          publish image       by the publisher; or: publish image at NODE
//	at 0s                          get image at all    a PLACE: all, a site, a node; several with commas
//	when image 30% at branch-a     kill branch-a-2     as soon as a member of the place has so much of it
//	after 5s                       start branch-a-2    behind the line above
//	when image done at branch-a    stop publisher      all members that asked for it have it
//
// What can be done to a node: start, stop, kill, restart, freeze, thaw, unplug,
// plug, move NODE to SITE. To a site's link: cut, heal, link SITE up|down|both
// SETTINGS. What the users of a branch do: bulk, web, voip at SITE for TIME; they are
// played twice, first without any content, which is what the second is held
// against. A get that the end of its node cut off is asked again once the node is
// started.
//
//	level done at branch-a       <= 1.10 x wire
//	level copies at branch-a     <= 1.05     short: every member speaks with every other site
//
// A level names a measure (Measures has them), maybe a content and a place, and the
// figure it must hold. One that is marked short has the figure that it shall have and
// that today's code doesn't reach; the reason follows. It is reported by name and
// fails nothing.
//
// Decided apart from done: Parse, the triggers (when is it time for a line) and
// Judge (what does a Record say of a level) know no clock and no process. Run is the
// thin part around them. Results go out as JSON (Result), a table and a plot. Which
// machines it runs on is testnet/box's; foreground traffic is testnet/foreground's.
package play
