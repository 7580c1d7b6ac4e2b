// Package measure defines what a benchmark is: a [Subject] is measured in several runs, each of
// which yields a [Sample] of metrics, and the samples of a subject are a [Result].
//
// The names of all metrics are here, because the packages with the subjects set them and the report
// prints them.
package measure
