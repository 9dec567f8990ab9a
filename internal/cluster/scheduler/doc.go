// Package scheduler decides what a cluster should do next: Schedule takes the CIB (configuration and status), the time
// and whether there is quorum, and gives the transition that leads from the present state to the wanted one, with
// the scores and reasons behind it. It is a pure function: the same input gives the same output.
//
// It decides as Pacemaker 2.1 does. Semantics come from "Pacemaker Explained" and from what crm_simulate answers; the
// steps, each in its own file, are:
//
//	config, nodes, resources   read the configuration into a model
//	history                    what is active where, what failed (status section)
//	location, colocation,      constraints, as scores and pairs
//	stickiness, ordering
//	assign, group, clone,      choose a node for each resource, and which instances are promoted
//	promotable
//	actions, recurring,        what to do for each resource to get there
//	probes, fencing, notify
//	update                     carry the consequences of orderings through: required, not runnable
//	graph                      keep what is to be done, in order
package scheduler
