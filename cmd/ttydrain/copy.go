package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/pipeline/timeflag"
	"github.com/ttydrain/ttydrain/sinks"
	"github.com/ttydrain/ttydrain/sinks/elasticsearch"
)

// copyFlags select the copy that a command reads, and the sessions in it.
type copyFlags struct {
	remote
	from      []string
	caFile    string
	times     timeflag.Range
	selection replay.Selection // Operation is set by the command, or by a flag of its own
}

// fromHelp describes --from.
const fromHelp = `Without --from, the LOGS stream is read, through the serve that runs with the configuration. --from takes a file of an
HTTPS, syslog or file drain ("-" is standard input; gzip and zstd are recognized; repeatable), or the URL of an Elasticsearch or OpenSearch drain
with its data stream, as in https://es.example.com:9200/logs-ssh-default, with credentials to read it in the environment:
ELASTICSEARCH_API_KEY, or ELASTICSEARCH_USERNAME and ELASTICSEARCH_PASSWORD.`

func (f *copyFlags) flags(c *cobra.Command) {
	f.remote.flags(c)
	f.sourceFlags(c)
}

// sourceFlags adds the flags that do not concern the running ttydrain.
func (f *copyFlags) sourceFlags(c *cobra.Command) {
	s := c.Flags()
	s.StringArrayVar(&f.from, "from", nil, "the `COPY` to read: a file, - or the URL of an Elasticsearch data stream (default: the LOGS stream)")
	s.StringVar(&f.caFile, "ca-file", "", "PEM `FILE` with the authorities to trust for TLS (default: the system's)")
	s.StringVar(&f.selection.App, "app", "", "only sessions on the app with this `NAME`")
	s.StringVar(&f.selection.User, "user", "", "only sessions of the user with this `ID`, e-mail address or name")
	rangeFlags(c, &f.times, "only sessions that began")
}

// rangeFlags adds --since and --until to a command. Their help begins with what.
func rangeFlags(c *cobra.Command, times *timeflag.Range, what string) {
	c.Flags().Var(&times.Since, "since", what+" at this `TIME` or later: "+timeflag.Usage)
	c.Flags().Var(&times.Until, "until", what+" before this `TIME`")
}

// rangeQuery adds the range to the query of a request.
func rangeQuery(q url.Values, times *timeflag.Range) error {
	if err := times.Check(); err != nil {
		return usageError{err}
	}
	for name, at := range map[string]timeflag.Value{"since": times.Since, "until": times.Until} {
		if !at.IsZero() {
			q.Set(name, at.UTC().Format(time.RFC3339Nano))
		}
	}
	return nil
}

// parse checks the flags. It is called before open.
func (f *copyFlags) parse() error {
	if err := f.times.Check(); err != nil {
		return usageError{err}
	}
	f.selection.Since, f.selection.Until = f.times.Since.Time, f.times.Until.Time
	return checkOutput(f.output)
}

// isStream reports whether the LOGS stream is read instead of a copy.
func (f *copyFlags) isStream() bool { return len(f.from) == 0 }

// open returns the copy, unread.
func (f *copyFlags) open(progress replay.Progress) (replay.Copy, error) {
	if f.isStream() {
		return f.stream(progress)
	}
	var names []string
	for _, from := range f.from {
		if !strings.HasPrefix(from, "https://") && !strings.HasPrefix(from, "http://") {
			names = append(names, from)
		}
	}
	switch {
	case len(names) == len(f.from):
		return &replay.Files{Names: names, Progress: progress}, nil
	case len(f.from) > 1:
		return nil, usageError{errors.New("--from: Elasticsearch is read alone: expected one URL, or files")}
	}
	return f.search(progress)
}

// stream returns the LOGS stream, which can be followed.
func (f *copyFlags) stream(progress replay.Progress) (*replay.Stream, error) {
	at, token, err := f.endpoint()
	if err != nil {
		return nil, err
	}
	return &replay.Stream{Address: at.URL, Client: at.Client, Token: token, Selection: f.selection, Progress: progress}, nil
}

func (f *copyFlags) search(progress replay.Progress) (*replay.Search, error) {
	cluster, index, err := replay.ParseSearchURL(f.from[0])
	if err != nil {
		return nil, usageError{fmt.Errorf("--from: %w", err)}
	}
	s := &replay.Search{
		URL: cluster, Index: index, TLS: sinks.TLS{CAFile: f.caFile}, Selection: f.selection, Progress: progress,
		APIKey: elasticsearch.EncodedKey(os.Getenv("ELASTICSEARCH_API_KEY")), Username: os.Getenv("ELASTICSEARCH_USERNAME"), Password: os.Getenv("ELASTICSEARCH_PASSWORD"),
	}
	if s.APIKey != "" && s.Username != "" {
		return nil, usageError{errors.New("ELASTICSEARCH_API_KEY and ELASTICSEARCH_USERNAME are both set: expected one of both")}
	}
	return s, nil
}

// progressInterval is the time between two updates of the progress.
const progressInterval = 200 * time.Millisecond

// showProgress shows the progress of reading on standard error, if that is a terminal. done removes
// the line.
func showProgress(doing string) (progress replay.Progress, done func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) || os.Getenv("TERM") == "dumb" {
		return nil, func() {}
	}
	var mu sync.Mutex // guards last
	var last time.Time
	progress = func(n, total int64) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) < progressInterval {
			return
		}
		last = time.Now()
		if total > 0 {
			fmt.Fprintf(os.Stderr, "\r\x1b[K%s: %d%%", doing, 100*min(n, total)/total)
			return
		}
		fmt.Fprintf(os.Stderr, "\r\x1b[K%s: %d", doing, n)
	}
	return progress, func() {
		mu.Lock()
		defer mu.Unlock()
		if !last.IsZero() {
			fmt.Fprint(os.Stderr, "\r\x1b[K")
		}
	}
}
