package replay_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/replay"
)

// received is what an HTTPS drain has stored: records in any order, with duplicates.
const received = `
{"operation_id":"42","app":"web","operation_user_name":"Ada","event":"output","sequence":3,"stream":"stdout","offset":"6","time":"2026-03-01T09:30:02Z","log":"a.txt\r\n","text":"a.txt"}
{"operation_id":"42","app":"web","operation_user_name":"Ada","event":"start","sequence":1,"stream":"stdout","offset":"0","time":"2026-03-01T09:30:00Z","text":"session started","interactive":true,"width":80,"height":24}
{"operation_id":"42","app":"web","operation_user_name":"Ada","event":"output","sequence":2,"stream":"stdout","offset":"0","time":"2026-03-01T09:30:01Z","log":"$ ls\r\n","text":"$ ls"}
{"operation_id":"42","app":"web","operation_user_name":"Ada","event":"output","sequence":2,"stream":"stdout","offset":"0","time":"2026-03-01T09:30:01Z","log":"$ ls\r\n","text":"$ ls"}
{"operation_id":"42","app":"web","operation_user_name":"Ada","event":"end","sequence":4,"stream":"stdout","offset":"13","time":"2026-03-01T09:30:05Z","text":"session ended: exit, status 0","reason":"exit","exit_status":0,"bytes":13}
`

// Sessions groups, sorts and deduplicates the records of a copy, here of a drain's files.
func ExampleSessions() {
	files := &replay.Files{Names: []string{"-"}, Stdin: strings.NewReader(received)}
	summary, err := replay.Sessions(context.Background(), files, replay.Selection{App: "web"}, func(s *replay.Session) error {
		fmt.Printf("session %s of %s, %d duplicates\n", s.Operation.ID, s.Operation.User.Name, s.Repeats)
		return replay.WriteText(os.Stdout, s)
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(summary.Records, "records")
	// Output:
	// session 42 of Ada, 1 duplicates
	// [session started]
	// $ ls
	// a.txt
	// [session ended: exit, status 0]
	// 5 records
}

// Frames returns the output with its times, for programs that render a session themselves.
func ExampleSession_Frames() {
	files := &replay.Files{Names: []string{"-"}, Stdin: strings.NewReader(received)}
	session, err := replay.FindSession(context.Background(), files, replay.Selection{Operation: "42"})
	if err != nil {
		log.Fatal(err)
	}
	for f := range session.Frames() {
		fmt.Printf("%4s %-6s %q\n", time.Unix(0, f.Time).Sub(session.Started), f.Event, f.Bytes)
	}
	// Output:
	//   0s start  ""
	//   1s output "$ ls\r\n"
	//   2s output "a.txt\r\n"
	//   5s end    ""
}

// A Filter removes everything from a session's output that could affect the auditor's terminal
// other than by displaying it.
func ExampleFilter() {
	var f replay.Filter
	shown := f.Append(nil, []byte("\x1b[31mred\x1b[0m \x1b]0;title\a\x1b[6nplain"))
	fmt.Printf("%q\n", shown)
	// Output: "\x1b[31mred\x1b[0m plain"
}
