package replay

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/pipeline/endpoint"
	"github.com/ttydrain/ttydrain/schema"
)

// Stream is the LOGS stream itself, read through the admin API of a ttydrain with the role router.
// It is not a drain's copy: it has all fields of the records, as long as the stream retains them.
type Stream struct {
	Address string // HOST:PORT, or a URL without a path
	Token   string
	// Client sends the request; nil means http.DefaultClient.
	Client *http.Client
	// Selection limits the request by operation, app, stack and time.
	Selection Selection
	// Follow continues with new records after the existing ones.
	Follow bool
	// Now skips the existing records.
	Now bool
	// After skips messages up to this sequence.
	After uint64
	// Last is set by Read to the sequence of the last message that was read completely, or to
	// After. Another Read can continue after it.
	Last     uint64
	Progress Progress
}

// Grouped implements [Copy].
func (s *Stream) Grouped() bool { return false }

// ErrInterrupted is wrapped by the error of a Read that fails after it has begun.
var ErrInterrupted = errors.New("read the stream")

// sinceMargin is added to the requested time range, since the clocks of the gateways and of NATS
// differ.
const sinceMargin = 10 * time.Minute

// Read implements [Copy].
func (s *Stream) Read(ctx context.Context, v Visitor) error {
	s.Last = s.After
	q := url.Values{}
	set := func(name, value string) {
		if value != "" {
			q.Set(name, value)
		}
	}
	set("operation", s.Selection.Operation)
	set("app", s.Selection.App)
	set("stack", s.Selection.Stack)
	if !s.Selection.Since.IsZero() {
		set("since", s.Selection.Since.Add(-sinceMargin).UTC().Format(time.RFC3339Nano))
	}
	if s.Follow {
		set("follow", "true")
	}
	switch {
	case s.After > 0:
		set("after", strconv.FormatUint(s.After, 10))
	case s.Now:
		set("from", "now")
	}
	base, client := s.Address, s.Client
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	if client == nil {
		client = http.DefaultClient
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/api/v1/segments?"+q.Encode(), nil)
	if err != nil {
		return fmt.Errorf("read the stream: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+s.Token)
	response, err := client.Do(request)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("%w: is serve running, and is %s its admin address?", err, s.Address)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(endpoint.Refusal(response))
	}
	total, _ := strconv.ParseInt(response.Header.Get(schema.HeaderSegments), 10, 64) // 0 if it is unknown
	err = s.segments(bufio.NewReaderSize(response.Body, 64<<10), total, v)
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// segments reads the response of the admin API: see [schema.HeaderSegments].
func (s *Stream) segments(r *bufio.Reader, total int64, v Visitor) error {
	var d schema.Decoder
	for done := int64(1); ; done++ {
		sequence, err := binary.ReadUvarint(r)
		var data []byte
		if err == nil {
			data, err = readPrefixed(r)
		}
		switch {
		case err != nil:
			return fmt.Errorf("%w: the response is truncated: %w", ErrInterrupted, err)
		case sequence == 0 && len(data) == 0:
			return nil
		case sequence == 0:
			return fmt.Errorf("%w: %s", ErrInterrupted, data)
		}
		place := Place{Name: schema.StreamLogs + "/" + strconv.FormatUint(sequence, 10)}
		segment, err := d.Segment(data)
		if err != nil {
			v.broken(Broken{Place: place, What: err.Error()})
			s.Last = sequence
			continue
		}
		for i := range segment.Records {
			r := &Record{Record: segment.Records[i], Operation: segment.Operation, Place: place}
			if err := v.Record(r); err != nil {
				return err
			}
		}
		s.Last = sequence
		s.Progress.report(done, total)
	}
}
