package enrich_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/schema"
)

// A transcript turns the chunks of a session into segments of records. The user corrects a typing
// mistake with a backspace: the text of the record shows the corrected command.
func ExampleTranscript() {
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	key, err := enrich.LoadKey(filepath.Join(folder, "key.pem"), "")
	if err != nil {
		log.Fatal(err)
	}
	now := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	user := schema.User{ID: "u-1", Name: "Ada Lovelace", Email: "ada@example.com"}
	document, err := key.Mint("https://auth.example.com", user, now)
	if err != nil {
		log.Fatal(err)
	}
	operation := &schema.Operation{
		ID: "4711", Stack: "default", App: "web", User: user, UserDocument: document, Interactive: true, Width: 80, Height: 24,
	}

	start, err := schema.StartFrame(now, operation)
	if err != nil {
		log.Fatal(err)
	}
	end, err := schema.DetailFrame(schema.FrameEnd, now, &schema.Detail{Reason: "exit", ExitStatus: new(int)})
	if err != nil {
		log.Fatal(err)
	}
	output := schema.Frame{Kind: schema.FrameStdout, Time: now.UnixNano(), Payload: []byte("$ dste\b\b\bate\r\nSun Mar  1\r\n")}

	transcript, err := enrich.New(operation, key, now)
	if err != nil {
		log.Fatal(err)
	}
	if err := transcript.Add(&schema.Chunk{Frames: []schema.Frame{start, output, end}}, now); err != nil {
		log.Fatal(err)
	}
	for transcript.Ready() {
		made, err := transcript.Take()
		if err != nil {
			log.Fatal(err)
		}
		segment, err := new(schema.Decoder).Segment(made.Data)
		if err != nil {
			log.Fatal(err)
		}
		for _, r := range segment.Records {
			fmt.Printf("%d %s: %s\n", r.Sequence, r.Event, r.Text)
		}
	}
	// Output:
	// 1 start: session started (terminal of 80 by 24)
	// 2 output: $ date
	// 3 output: Sun Mar  1
	// 4 end: session ended: exit, status 0
}

// CheckDocument refuses a document that could still authorize something.
func ExampleCheckDocument() {
	folder, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)
	key, err := enrich.LoadKey(filepath.Join(folder, "key.pem"), "ES256")
	if err != nil {
		log.Fatal(err)
	}
	minted := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC)
	document, err := key.Mint("https://auth.example.com", schema.User{ID: "u-1"}, minted)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(enrich.CheckDocument(document, minted))
	fmt.Println(enrich.CheckDocument(document, minted.Add(-2*time.Hour)))
	// Output:
	// <nil>
	// refused the user document: it has not expired
}
