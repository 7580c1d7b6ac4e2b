package schema_test

import (
	"encoding/json"
	"fmt"
	"log"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

func exampleOperation() *schema.Operation {
	return &schema.Operation{
		ID: "4711", Stack: "default", App: "web", Layer: "app", Interactive: true, Width: 80, Height: 24,
		User:    schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"},
		Started: time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC),
	}
}

// A segment holds consecutive records and their operation in the binary form of the LOGS stream.
func ExampleSegmentBuilder() {
	operation, err := json.Marshal(exampleOperation())
	if err != nil {
		log.Fatal(err)
	}
	var b schema.SegmentBuilder
	b.Begin(nil, operation)
	first := schema.Record{Sequence: 1, Log: []byte("$ date\r\n"), Text: []byte("$ date")}
	second := schema.Record{Sequence: 2, Offset: first.Span(), Log: []byte("Sun Mar  1\r\n"), Text: []byte("Sun Mar  1")}
	for _, r := range []*schema.Record{&first, &second} {
		if err := b.Add(r); err != nil {
			log.Fatal(err)
		}
	}
	data, err := b.Finish(&schema.Resume{})
	if err != nil {
		log.Fatal(err)
	}

	var d schema.Decoder
	segment, err := d.Segment(data)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("operation", segment.Operation.ID, "of", segment.Operation.User.Name)
	for _, r := range segment.Records {
		fmt.Printf("%d at offset %d: %s\n", r.Sequence, r.Offset, r.Text)
	}
	// Output:
	// operation 4711 of Ada Lovelace
	// 1 at offset 0: $ date
	// 2 at offset 8: Sun Mar  1
}

// AppendRecord writes a record as drains receive it; here with a log that is not valid UTF-8.
func ExampleEncoder_AppendRecord() {
	var e schema.Encoder
	data, err := e.AppendRecord(nil, exampleOperation(), &schema.Record{
		Sequence: 1, Time: 1_772_357_400_000_000_000, Log: []byte("caf\xe9\r\n"), Text: []byte("caf\ufffd"),
	})
	if err != nil {
		log.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		log.Fatal(err)
	}
	for _, name := range []string{"@timestamp", "operation_id", "operation_user_name", "event", "sequence", "text", "log_base64"} {
		fmt.Printf("%s: %v\n", name, fields[name])
	}
	// Output:
	// @timestamp: 2026-03-01T09:30:00.000000000Z
	// operation_id: 4711
	// operation_user_name: Ada Lovelace
	// event: output
	// sequence: 1
	// text: caf�
	// log_base64: Y2Fm6Q0K
}

// SubjectTTY and FilterLogs agree on how names become tokens of a subject.
func ExampleToken() {
	fmt.Println(schema.Token("web"), schema.Token("my app.v2"))
	fmt.Println(schema.FilterLogs(-1, "default", "my app.v2"))
	// Output:
	// web my=20app=2Ev2
	// logs.*.default.my=20app=2Ev2.*
}
