package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// texts finds the records with an altered text in a copy without text digests. Candidates are the
// records whose text differs from the text generated from their bytes; the result is confirmed by
// the signed digest.
func (w *walk) texts(signed string) {
	var differ []int
	first, last := 0, 0 // range of candidates
	generated := rendered(&w.common, w.session.Operation, w.content)
	expected := func(i int) (text []byte, ok bool) {
		if generated != nil {
			return generated[i], true
		}
		return plainText(w.content[i])
	}
	for i, r := range w.content {
		text, ok := expected(i)
		if ok && bytes.Equal(text, r.Text) {
			continue
		}
		if ok {
			differ = append(differ, i)
		}
		if last = i + 1; first == 0 {
			first = last
		}
	}
	isSigned := func(replaced func(i int) bool) bool {
		sum := sha256.New()
		for i, r := range w.content {
			text := r.Text
			if replaced(i) {
				text, _ = expected(i)
			}
			w.budget -= len(text)
			sum.Write(text)
			sum.Write(newline)
		}
		return hex.EncodeToString(sum.Sum(nil)) == signed
	}
	isDifferent := make(map[int]bool)
	for _, i := range differ {
		isDifferent[i] = true
	}
	found := differ
	if !isSigned(func(i int) bool { return isDifferent[i] }) {
		found = nil
		for _, one := range differ { // another version of ttydrain may have generated some texts differently
			if w.budget > 0 && isSigned(func(i int) bool { return i == one }) {
				found = []int{one}
				break
			}
		}
	}
	if found == nil {
		w.add(Finding{Kind: Changed, First: uint64(max(first, 1)), Last: uint64(max(last, 1)), What: "the text of at least one of these records is not the signed one"})
	}
	for _, i := range found {
		w.at(Changed, uint64(i)+1, w.content[i], "its text is not the one that was recorded")
	}
}

// restoreTexts replaces the texts that syslog had to alter by those that were recorded, if the copy
// has the bytes: it renders them, and the text digests confirm them.
func (w *walk) restoreTexts() {
	altered := func(r *replay.Record) bool { return r.Lost.Has(replay.LostText) && !r.Lost.Has(replay.LostTextDigest) }
	if !slices.ContainsFunc(w.records, altered) {
		return
	}
	var index []int // of the first records with the sequences from 1
	var records []*replay.Record
	for i, r := range w.records {
		if r.Sequence == uint64(len(records))+1 && !lacksLog(r) {
			index, records = append(index, i), append(records, r)
		}
	}
	texts := rendered(&w.common, w.session.Operation, records)
	sum := sha256.New()
	for i := range texts {
		r := records[i]
		text := r.Text
		if altered(r) {
			text = texts[i]
		}
		sum.Write(text)
		sum.Write(newline)
		if schema.Digest(sum.Sum(nil)) != r.TextDigest {
			return // another version of ttydrain may have rendered it differently
		}
		if altered(r) {
			restored := *r
			restored.Text = text
			restored.Lost &^= replay.LostText
			w.records[index[i]] = &restored
			w.shown[&restored] = r.Text
		}
	}
}

// inspectShown compares a restored text with the one that the copy shows.
func (w *walk) inspectShown(r *replay.Record, changed func(string)) {
	shown, ok := w.shown[r]
	if !ok {
		return
	}
	expected := strings.Map(func(c rune) rune { return schema.SyslogRune(c, false) }, string(r.Text))
	switch {
	case expected == string(r.Text):
		changed("it is marked altered although syslog can carry its text")
	case expected != string(shown):
		changed("its text is not the one that was recorded")
	}
}

// placeholder is an expired user document, for transcripts of which only the texts are used.
const placeholder = "eyJhbGciOiJFZERTQSJ9.eyJleHAiOjB9.AA"

// rendered returns the texts that the enricher generates from the output of records. It returns nil
// if the enricher would divide the output into other records.
func rendered(common, described *schema.Operation, records []*replay.Record) (texts [][]byte) {
	op := *common
	op.Command, op.Interactive, op.Width, op.Height = described.Command, described.Interactive, described.Width, described.Height
	op.Origin = described.Origin
	op.UserDocument = placeholder
	now := time.Unix(0, 0)
	transcript, err := enrich.New(&op, nil, time.Now())
	if err != nil {
		return nil
	}
	var decoder schema.Decoder
	take := func() bool {
		for transcript.Ready() {
			taken, err := transcript.Take()
			if err != nil {
				return false
			}
			segment, err := decoder.Segment(taken.Data)
			if err != nil {
				return false
			}
			for i := range segment.Records {
				r := &segment.Records[i]
				if len(texts) >= len(records) || !bytes.Equal(r.Log, records[len(texts)].Log) || r.Event != records[len(texts)].Event {
					return false
				}
				texts = append(texts, bytes.Clone(r.Text))
			}
		}
		return true
	}
	for n, r := range records {
		if r.Event == schema.EventCheckpoint { // which no frame causes
			if !take() || len(texts) != n {
				return nil
			}
			texts = append(texts, enrich.EventText(r.Event, r.Detail))
			continue
		}
		frames, err := framesOf(&op, r)
		if err != nil {
			return nil
		}
		received := transcript.Received()
		if transcript.Add(&schema.Chunk{Ordinal: uint64(n), Offset: received.Bytes, Events: received.Events, Frames: frames}, now) != nil {
			return nil
		}
		now = now.Add(2 * enrich.MaxAge)
		if r.Partial { // it was split because of its age or of the next event
			transcript.Expire(now)
		}
		if n%1000 == 0 && !take() {
			return nil
		}
	}
	if !take() || len(texts) != len(records) {
		return nil
	}
	return texts
}

// framesOf returns the captured frames of a record, with the times of its bytes, since a text
// depends on how long something was visible.
func framesOf(op *schema.Operation, r *replay.Record) ([]schema.Frame, error) {
	var f schema.Frame
	var err error
	at := time.Unix(0, r.Time)
	switch r.Event {
	case schema.EventStart:
		f, err = schema.StartFrame(at, op)
	case schema.EventResize:
		f, err = schema.DetailFrame(schema.FrameResize, at, r.Detail)
	case schema.EventGap:
		f, err = schema.DetailFrame(schema.FrameGap, at, r.Detail)
	case schema.EventInput:
		f, err = schema.DetailFrame(schema.FrameInput, at, r.Detail)
	case schema.EventTransfer:
		f, err = schema.DetailFrame(schema.FrameTransfer, at, r.Detail)
	case schema.EventEnd:
		f, err = schema.DetailFrame(schema.FrameEnd, at, r.Detail)
	default:
		return outputFrames(r), nil
	}
	return []schema.Frame{f}, err
}

func outputFrames(r *replay.Record) (frames []schema.Frame) {
	kind := schema.FrameStdout
	if r.Stream == schema.Stderr {
		kind = schema.FrameStderr
	}
	for f := range r.Frames() {
		frames = append(frames, schema.Frame{Kind: kind, Time: f.Time, Payload: f.Bytes})
	}
	return frames
}
