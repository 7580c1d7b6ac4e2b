// Package sinks defines the contract of a sink, which writes records to a drain in one wire
// protocol: [Sink], its errors and verdicts, and what sinks share, such as TLS and HTTP transports.
// The sinks are in the packages below, and each of them passes the conformance suite in
// sinks/sinktest.
//
// # Adding a type of drain
//
// A new sink is a package of its own and at most 80 lines in five other files. The sink of
// sinks/file was added like this, with 26 lines:
//
//  1. sinks/NAME: Options, which are an [Opener], New, and a Sink that implements [Sink]. Write
//     returns an [*Error] with a Verdict for the pipeline, and a Reason and Advice for operators.
//     Probe and Write report steps to the Reporter of their context: see sinks/probe. The
//     package's tests run sinktest.Run.
//  2. pipeline/config/drain.go: a field of Drain with the tag variant:"NAME", and next to it a
//     struct with the settings (pipeline/config/drain_file.go), its setDefaults, and finish for
//     checks that tags cannot express.
//  3. schema/config.schema.json: the name in the list of types, the settings below $defs, and one
//     line that joins both. A test compares them with the struct.
//  4. cmd/ttydrain/drain.go: the entry in the table of sinks, which makes Options of the settings.
//  5. The table of imports, which is held by a test, gets a line for the package.
//
// The settings also belong into pipeline/config/testdata/good/full.yaml, and operators read about
// them on a page of cmd/ttydrain/docs, which pages.go lists. Nothing else has a list of types.
//
// # Adding a preset
//
// A preset for a provider needs no sink, so only steps 2 and 3: its settings, in
// pipeline/config/preset_NAME.go, have a method expand that makes those of another type. Its rows
// in pipeline/config/preset_test.go and cmd/ttydrain/drain_provider_test.go show what the provider
// receives.
package sinks
