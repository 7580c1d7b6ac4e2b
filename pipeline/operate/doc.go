// Package operate is what operators and auditors do, by the admin API and the command line: with
// drains and dead letters ([Operator]), and with sessions ([SessionOperator]).
//
// Any process of a cluster can do it. What operators want of a drain goes through a bucket that the
// drain's workers watch (see package router), and the status of the drains comes back through
// another one. A request to end a session goes to its gateway in the same way.
package operate
