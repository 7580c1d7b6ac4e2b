// Package corpus holds the terminal output that everything is measured with.
//
// The recordings are the output of real programs on real terminals. A [Terminal] plays them in an
// order that depends on a seed, and a [Session] cuts its output into chunks and counts the records
// that the enricher makes of them. [Record] makes the recordings again.
package corpus
