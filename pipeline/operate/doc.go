// Package operate implements the operations of the admin API and the command line: on drains and
// dead letters ([Operator]), and on sessions ([SessionOperator]).
//
// Any process of a cluster can perform them. The desired state of a drain goes through a bucket
// that the drain's workers watch (see package router), and their status comes back through another
// one. A request to end a session goes to its gateway in the same way.
package operate
