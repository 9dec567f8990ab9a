// Package histories holds no program, only tests: the tutorial and the histories that would lose data or run two databases
// if one of DESIGN's rules S1-S8 were weak, on the whole system in the lab, with the real MariaDB. A client that
// inserts rows and a watcher that writes into whatever database accepts it judge what happened.
//
// All tests share one lab; it is made by the first that needs it, with the tutorial replayed, and made anew after one that
// failed, so that each says something by itself. They run with HOLDFAST_LAB=1 and as root. TestPlantedBugs has a smaller stage
// of its own, and plays all its histories with HOLDFAST_LAB=full only.
package histories
