// Package cib is the cluster information base: the XML document, in Pacemaker's schema, that holds a cluster's
// configuration and status. It parses and prints the document, reads and edits its sections, keeps its version, and
// says what is wrong with it. It is a core: no clock, no I/O.
//
// The schema is described in "Pacemaker Explained"; forms not described there (history entries, attribute names) follow
// what Pacemaker 2.1.5 writes. Elements and attributes not known here survive a round trip.
package cib
