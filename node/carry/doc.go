// Package carry decides which member of a site brings which chunk over the WAN,
// so that each crosses it once, whoever asked first, however many join late, and
// whoever dies.
//
// For each content under way at a site one delegate is the planner: all members
// choose the same one, by hash (discovery/site). Whoever fetches the content takes
// a Seat at its Plan there, and says what it has. The planner makes a few members
// carriers. They alone look for sources at other sites. A carrier that could ask
// one of them for something proposes chunks, in the order in which it would like to
// have them (node/flow: rarest first, then by a shuffle of its own); the planner
// grants those that nobody at the site has or carries, and says which are taken.
// Everybody takes from neighbours what is there.
//
//	member (Seat)                            planner (Planner, one Plan a content)
//	  join content, what it has        ->
//	                                   <-    crew: you are a carrier
//	  propose 6 of 17, 4, 9, …         ->
//	                                   <-    answer: 17, 9, … granted; 4 is taken
//	  progress: bytes, bytes to come   ->
//	  has 17                           ->
//	                                   <-    free: 4 (its carrier has left)
//	  done                             ->    hangs up; it stays known as one who has it
//
// # Taking over
//
// What a carrier leaves behind is free at once, and told to the others. One that is
// silent or slow keeps what it carries as long as the others have something else to
// ask for, which keeps the link busy: only a carrier that has nothing left to ask
// for takes a chunk away from one that has brought nothing for Stall, or that would
// need several times as long. So an outage, in which all are silent, moves nothing
// around, and what comes after it comes once.
//
// # When there is no planner
//
// A Seat whose planner doesn't answer looks for the next one, tells it what it
// carries already, and after Patience says that it is alone: then the node brings
// what it lacks itself. A site of two halves that can't see each other has two
// planners and works as two; when they meet, members move to one plan with all they
// have and carry.
//
//	plan.go     who carries what (pure)
//	pace.go     who is late (pure)
//	frame.go    what members and planner say to each other
//	planner.go  the planner's end: the plans of this node
//	seat.go     the member's end
//
// # What is left to others
//
// Which chunk is wanted most, whom to ask for it and how long to wait is node/flow's.
// Who is at the site and who plans is discovery/site's. A planner that lies can have
// a content brought twice, or hold it up for the 10 s after which a member that had no
// answer brings what it lacks itself: bytes are checked against hashes by whoever gets
// them, as always.
package carry
