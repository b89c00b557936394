// Package node joins.
package node

// Line 1 of too many.
// Line 2 of too many.
// Line 3 of too many.
// Line 4 of too many.
// Line 5 of too many.
// Line 6 of too many.
// Line 7 of too many.
// Line 8 of too many.
// Line 9 of too many.
// Line 10 of too many.
// Line 11 of too many.
// Line 12 of too many.
// Line 13 of too many.
// Line 14 of too many.
// Line 15 of too many.
// Line 16 of too many.
// Line 17 of too many.
// Line 18 of too many.
// Line 19 of too many.
// Line 20 of too many.
// Line 21 of too many.
// Line 22 of too many.
// Line 23 of too many.
// Line 24 of too many.
// Line 25 of too many.
// Line 26 of too many.
// Line 27 of too many.
// Line 28 of too many.
// Line 29 of too many.
// Line 30 of too many.
