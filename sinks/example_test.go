package sinks_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/ttydrain/ttydrain/schema"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/file"
)

// exampleEntry returns a record of an operation, as the enricher makes them.
func exampleEntry() sinks.Entry {
	return sinks.Entry{
		Operation: &schema.Operation{ID: "42", Stack: "default", App: "web"},
		Record:    &schema.Record{Event: schema.EventOutput, Sequence: 1, Log: []byte("total 48\r\n"), Text: []byte("total 48")},
	}
}

// A sink is opened from its options, and delivers batches.
func Example() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	var options sinks.Opener = file.Options{Path: dir}
	sink, err := options.Open()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sink.Close()
	err = sink.Write(context.Background(), []sinks.Entry{exampleEntry()})
	fmt.Println("delivered:", err == nil)
	fmt.Println("writes at a time:", options.Limits().Concurrency)
	// Output:
	// delivered: true
	// writes at a time: 4
}

// The steps of a connectivity check show which part of the connection failed.
func ExampleTry() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)
	sink, err := file.New(file.Options{Path: filepath.Join(dir, "archive")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer sink.Close()
	entry := exampleEntry()
	steps, ok := sinks.Try(context.Background(), sink, &entry)
	for _, step := range steps {
		fmt.Println(step.Name, step.Result)
	}
	fmt.Println(ok)
	// Output:
	// folder ok
	// acceptance ok
	// true
}

// An error has a verdict for the pipeline, and a reason and advice for operators.
func ExampleAsError() {
	var err error = &sinks.Error{Verdict: sinks.Misconfigured, Status: 404,
		Reason: "siem.example.com answered 404 Not Found: there is nothing at this path", Advice: "correct url"}
	e := sinks.AsError(err)
	fmt.Println(e.Verdict)
	fmt.Println(e.Message())
	// Output:
	// misconfigured
	// siem.example.com answered 404 Not Found: there is nothing at this path: correct url
}
