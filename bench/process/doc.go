// Package process runs the benchmark's processes and measures their CPU time and memory.
//
// Some processes are the benchmark itself in another role, such as a receiver or a router: a
// [Child], which answers questions on its standard input. The others are programs that are
// measured: a [Server], with everything that it starts. CPU time and memory come from getrusage(2)
// and /proc.
package process
