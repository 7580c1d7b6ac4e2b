package main

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/schema"
)

// A terminal makes what one person's terminal shows while they work in a shell: prompts, the echo of what
// they type, and the output of commands. The same seed gives the same bytes at the same times.
//
// Every line is shown within ten seconds, so that a line is a record, and every piece that show gives
// ends with a line.
type terminal struct {
	rng  *rand.Rand
	at   time.Time // of the next frame
	host string
	line []byte // reused
}

func newTerminal(seed uint64) *terminal {
	rng := rand.New(rand.NewPCG(seed, 0x7474796472616a6e))
	return &terminal{rng: rng, at: time.Unix(1767225600+rng.Int64N(86400), 0), host: fmt.Sprintf("web-%d", 10+rng.IntN(90))}
}

// readSize is how much of a large output arrives at one moment.
const readSize = 8 << 10

// work is a kind of command.
type work struct {
	weight int
	typed  func(*terminal) string
	// shown appends the output.
	shown func(*terminal, []byte) []byte
}

// works are in the proportion of about what people do in a shell on a server: by far the most lines are logs.
var works = []work{
	{5, (*terminal).listCommand, (*terminal).list},
	{4, (*terminal).logCommand, (*terminal).logs},
	{3, (*terminal).queryCommand, (*terminal).table},
	{2, func(*terminal) string { return "git log --oneline --graph" }, (*terminal).history},
	{2, func(*terminal) string { return "bundle exec rails test" }, (*terminal).trace},
	{1, func(*terminal) string { return "npm ci && npm run build" }, (*terminal).build},
	{1, func(t *terminal) string { return "curl -O https://files.example.com/" + t.pick(words) + ".tar.gz" }, (*terminal).progress},
}

// show gives one prompt, the command typed at it, and its output, as frames.
func (t *terminal) show(frames []schema.Frame) []schema.Frame {
	prompt := fmt.Sprintf("\x1b[01;32mdeploy@%s\x1b[00m:\x1b[01;34m~/app/%s\x1b[00m$ ", t.host, t.pick(words))
	frames = t.frame(frames, []byte(prompt), time.Duration(500+t.rng.IntN(1500))*time.Millisecond)
	total := 0
	for _, w := range works {
		total += w.weight
	}
	n := t.rng.IntN(total)
	k := 0
	for n >= works[k].weight {
		n -= works[k].weight
		k++
	}
	for _, c := range []byte(works[k].typed(t)) {
		if t.rng.IntN(40) == 0 { // a slip, and its correction
			frames = t.frame(frames, []byte{byte('a' + t.rng.IntN(26))}, t.keystroke())
			frames = t.frame(frames, []byte("\b\x1b[K"), t.keystroke())
		}
		frames = t.frame(frames, []byte{c}, t.keystroke())
	}
	frames = t.frame(frames, []byte("\r\n"), 200*time.Millisecond)
	t.line = works[k].shown(t, t.line[:0])
	for out := t.line; len(out) > 0; {
		piece := out[:min(readSize, len(out))]
		frames = t.frame(frames, piece, time.Duration(1+t.rng.IntN(20))*time.Millisecond)
		out = out[len(piece):]
	}
	return frames
}

func (t *terminal) keystroke() time.Duration {
	return time.Duration(20+t.rng.IntN(100)) * time.Millisecond
}

// frame appends what is shown some time after what was shown before.
func (t *terminal) frame(frames []schema.Frame, b []byte, after time.Duration) []schema.Frame {
	t.at = t.at.Add(after)
	return append(frames, schema.Frame{Kind: schema.FrameStdout, Time: t.at.UnixNano(), Payload: bytes.Clone(b)})
}

func (t *terminal) pick(from []string) string { return from[t.rng.IntN(len(from))] }

func (t *terminal) name() string {
	return t.pick(words) + "_" + t.pick(words) + t.pick([]string{".rb", ".js", ".log", ".yml", ".tar.gz", ".sql", ""})
}

func (t *terminal) listCommand() string { return "ls -l --color " + t.pick(words) }

func (t *terminal) list(b []byte) []byte {
	n := 8 + t.rng.IntN(40)
	b = fmt.Appendf(b, "total %d\r\n", n*8)
	for range n {
		mode, colour := "-rw-r--r--", "0"
		switch t.rng.IntN(5) {
		case 0:
			mode, colour = "drwxr-xr-x", "01;34"
		case 1:
			mode, colour = "-rwxr-xr-x", "01;32"
		}
		b = fmt.Appendf(b, "%s %2d deploy www-data %9d %s \x1b[0m\x1b[%sm%s\x1b[0m\r\n", mode, 1+t.rng.IntN(9), t.rng.IntN(1<<26),
			t.at.Add(-time.Duration(t.rng.IntN(1<<24))*time.Second).Format("Jan _2 15:04"), colour, t.name())
	}
	return b
}

func (t *terminal) logCommand() string { return "tail -n 200 log/" + t.pick(words) + ".log" }

func (t *terminal) logs(b []byte) []byte {
	at := t.at.Add(-time.Minute)
	for range 80 + t.rng.IntN(120) {
		at = at.Add(time.Duration(t.rng.IntN(400)) * time.Millisecond)
		b = at.AppendFormat(b, "2006-01-02T15:04:05.000Z ")
		switch t.rng.IntN(6) {
		case 0:
			b = fmt.Appendf(b, "\x1b[33mWARN\x1b[0m  [pool-%d] slow query: %d ms on %s.%s\r\n", t.rng.IntN(16), 200+t.rng.IntN(3000), t.pick(words), t.pick(words))
		case 1:
			b = fmt.Appendf(b, "\x1b[31mERROR\x1b[0m [pool-%d] %s: upstream closed the connection (errno %d)\r\n", t.rng.IntN(16), t.pick(words), t.rng.IntN(120))
		case 2:
			b = fmt.Appendf(b, "{\"level\":\"info\",\"msg\":\"%s %s\",\"user\":%d,\"duration\":%.3f}\r\n", t.pick(words), t.pick(words), t.rng.IntN(1e6), t.rng.Float64())
		default:
			b = fmt.Appendf(b, "INFO  [req-%08x] GET /%s/%d/%s 200 %d B in %d ms\r\n", t.rng.Uint32(), t.pick(words), t.rng.IntN(1e6), t.pick(words), t.rng.IntN(1<<16), t.rng.IntN(500))
		}
	}
	return b
}

func (t *terminal) queryCommand() string {
	return "psql -c 'select * from " + t.pick(words) + " limit 40'"
}

func (t *terminal) table(b []byte) []byte {
	b = fmt.Appendf(b, "    id    |           name           |             email              |       created_at        |  amount\r\n")
	b = fmt.Appendf(b, "----------+--------------------------+--------------------------------+-------------------------+-----------\r\n")
	n := 20 + t.rng.IntN(40)
	for range n {
		person := t.pick(people)
		b = fmt.Appendf(b, " %8d | %-24s | %-30s | %s | %9.2f\r\n", t.rng.IntN(1e8), person, t.pick(words)+"@example.com",
			t.at.Add(-time.Duration(t.rng.IntN(1<<24))*time.Second).Format("2006-01-02 15:04:05.000"), t.rng.Float64()*1e5)
	}
	return fmt.Appendf(b, "(%d rows)\r\n\r\n", n)
}

func (t *terminal) history(b []byte) []byte {
	for range 20 + t.rng.IntN(60) {
		b = fmt.Appendf(b, "* \x1b[33m%08x\x1b[m %s the %s of %s, so that the %s stays %s\r\n", t.rng.Uint32(),
			t.pick([]string{"Fix", "Add", "Remove", "Rename", "Übersetze", "Test"}), t.pick(words), t.pick(words), t.pick(words), t.pick(words))
	}
	return b
}

func (t *terminal) trace(b []byte) []byte {
	for range 1 + t.rng.IntN(4) {
		b = fmt.Appendf(b, "\x1b[31mFAIL\x1b[0m %s#test_%s_%s (%.2fs)\r\n", strings.ToUpper(t.pick(words)), t.pick(words), t.pick(words), t.rng.Float64())
		for range 8 + t.rng.IntN(16) {
			b = fmt.Appendf(b, "    /usr/local/bundle/ruby/3.3.0/gems/%s-%d.%d.%d/lib/%s/%s.rb:%d:in `%s'\r\n", t.pick(words), t.rng.IntN(9), t.rng.IntN(20),
				t.rng.IntN(9), t.pick(words), t.pick(words), t.rng.IntN(900), t.pick(words))
		}
	}
	return b
}

func (t *terminal) build(b []byte) []byte {
	for range 20 + t.rng.IntN(40) {
		b = fmt.Appendf(b, "\x1b[32m✓\x1b[39m dist/assets/%s-%08x.js \x1b[2m%7.2f kB │ gzip: %6.2f kB\x1b[22m\r\n", t.pick(words), t.rng.Uint32(), t.rng.Float64()*900, t.rng.Float64()*300)
	}
	return b
}

// progress draws one line over and over.
func (t *terminal) progress(b []byte) []byte {
	const width = 50
	for i := 0; i <= width; i += 1 + t.rng.IntN(4) {
		b = fmt.Appendf(b, "\r[\x1b[36m%s%s\x1b[0m] %3d%%", strings.Repeat("█", i), strings.Repeat(" ", width-i), i*100/width)
	}
	return append(b, "\r\n"...)
}

var words = strings.Fields(`account address agent archive article asset audit backup balance basket billing branch bucket budget
	cache calendar campaign cart catalog channel charge checkout client cluster comment config contact content contract coupon
	customer dashboard database delivery deploy device discount document domain draft email employee event export feature feed
	file folder gateway group history image import inbox index insurance inventory invoice item job journal label lead ledger
	license link list location login mailer manifest market media member menu merchant message meter migration module network
	note notice number order package page partner password patient payment period permission person phone picture plan player
	policy pool post price process product profile project prompt query queue quote rating receipt record refund region release
	report request reservation resource result review role route sale schedule schema search section segment sensor server
	service session setting shipment shop signal site snapshot source stack statement status stock storage store stream student
	subject subscription supplier support survey system table target task tax team template tenant term ticket token topic
	trace tracker traffic transfer trial upload usage user vendor version video visit voucher wallet warehouse webhook worker`)

var people = []string{"Ada Lovelace", "Grace Hopper", "Katherine Johnson", "Anna Müller", "José García", "Zoë Størmer", "Barbara Liskov",
	"Edsger Dijkstra", "Łukasz Wójcik", "Radia Perlman", "Donald Knuth", "Frances Allen", "Søren Kierkegaard", "Margaret Hamilton"}

// writeText writes terminal output of at least size bytes, as the lines of a file: without carriage returns before
// the newlines. It gives the number of bytes and lines.
func writeText(w io.Writer, seed uint64, size int64) (written, lines int64, err error) {
	t := newTerminal(seed)
	var frames []schema.Frame
	for written < size {
		frames = t.show(frames[:0])
		var text []byte
		for _, f := range frames {
			text = append(text, f.Payload...)
		}
		text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
		n, err := w.Write(text)
		written += int64(n)
		lines += int64(bytes.Count(text, []byte("\n")))
		if err != nil {
			return written, lines, fmt.Errorf("write the text: %w", err)
		}
	}
	return written, lines, nil
}
