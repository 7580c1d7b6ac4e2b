package audit

import (
	"bytes"
	"crypto/sha256"
	"hash"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// answer is the result of a comparison that may be impossible.
type answer uint8

const (
	unknown answer = iota
	yes
	no
)

// both combines the answers of two comparisons.
func both(a, b answer) answer {
	switch {
	case a == no || b == no:
		return no
	case a == yes || b == yes:
		return yes
	}
	return unknown
}

// chain is the state of the running digests. After a record that is missing or incomplete, a digest
// cannot be continued.
type chain struct {
	bytes, text           hash.Cloner // SHA-256 states
	bytesKnown, textKnown bool
	offset                uint64 // of the next record
	offsetKnown           bool
	minOffset             uint64 // lower bound of the next offset, if it is not known
	hashed                int    // number of bytes hashed in trying hypotheses
}

func newChain() chain {
	return chain{bytes: sha256.New().(hash.Cloner), text: sha256.New().(hash.Cloner), bytesKnown: true, textKnown: true, offsetKnown: true}
}

// dead reports whether no digest can be continued.
func (c *chain) dead() bool { return !c.bytesKnown && !c.textKnown }

// lose marks everything before the next record as unknown.
func (c *chain) lose() {
	c.bytesKnown, c.textKnown, c.offsetKnown, c.minOffset = false, false, false, 0
}

func (c *chain) loseText() { c.textKnown = false }

// sum returns the digest of a state followed by parts. It does not modify the state.
func (c *chain) sum(state hash.Cloner, parts ...[]byte) (d schema.Digest) {
	h, err := state.Clone()
	if err != nil { // SHA-256 of the standard library is always cloneable
		panic(err)
	}
	for _, p := range parts {
		c.hashed += len(p)
		h.Write(p)
	}
	c.hashed += 128
	h.Sum(d[:0])
	return d
}

var newline = []byte{'\n'}

// bytesFollow reports whether the bytes of content, appended to the chain, have the digest of the
// record digest.
func (c *chain) bytesFollow(content, digest *replay.Record) answer {
	if !c.bytesKnown || lacksLog(content) || digest.Lost.Has(replay.LostDigest) {
		return unknown
	}
	if c.sum(c.bytes, content.Log) == digest.Digest {
		return yes
	}
	return no
}

func (c *chain) textFollows(content, digest *replay.Record) answer {
	if !c.textKnown || content.Lost.Has(replay.LostText) || digest.Lost.Has(replay.LostTextDigest) {
		return unknown
	}
	if c.sum(c.text, content.Text, newline) == digest.TextDigest {
		return yes
	}
	return no
}

// follows reports whether the content of a record, appended to the chain, has the digests of the
// record digest.
func (c *chain) follows(content, digest *replay.Record) answer {
	return both(c.bytesFollow(content, digest), c.textFollows(content, digest))
}

// lacksLog reports whether a record has bytes that the copy does not contain.
func lacksLog(r *replay.Record) bool {
	return r.Lost.Has(replay.LostLog) && r.Event == schema.EventOutput
}

// followedBy reports whether r and then next, appended to the chain, have the digest of next.
func (c *chain) followedBy(r, next *replay.Record) bool {
	if !c.bytesKnown || lacksLog(r) || lacksLog(next) {
		return false
	}
	return c.sum(c.bytes, r.Log, next.Log) == next.Digest
}

func (c *chain) textFollowedBy(r, next *replay.Record) bool {
	if !c.textKnown || (r.Lost|next.Lost)&(replay.LostText|replay.LostTextDigest) != 0 {
		return false
	}
	return c.sum(c.text, r.Text, newline, next.Text, newline) == next.TextDigest
}

// advance appends a record to the chain. It returns a description if the offset is wrong.
func (c *chain) advance(r *replay.Record) (problem string) {
	if lacksLog(r) && c.bytesKnown && !r.Lost.Has(replay.LostDigest) {
		if log, ok := c.bytesOf(r); ok {
			c.write(log, r.Text, false, false)
			problem = c.pass(r)
			c.offset, c.offsetKnown, c.minOffset = r.Offset+uint64(len(log)), true, 0
			return problem
		}
	}
	c.write(r.Log, r.Text, lacksLog(r), r.Lost.Has(replay.LostText))
	return c.pass(r)
}

func (c *chain) write(log, text []byte, noLog, noText bool) {
	if noLog {
		c.bytesKnown = false
	}
	if noText {
		c.textKnown = false
	}
	c.bytes.Write(log)
	c.text.Write(text)
	c.text.Write(newline)
}

// pass advances the offset by a record.
func (c *chain) pass(r *replay.Record) (problem string) {
	if c.offsetKnown && r.Offset != c.offset || r.Offset < c.minOffset {
		problem = "its offset does not follow from the previous records"
	}
	if !c.offsetKnown {
		c.offset = r.Offset
	}
	if lacksLog(r) {
		c.offsetKnown = false
		c.minOffset = max(c.minOffset, r.Offset) + 1 // an output record has at least one byte
		return problem
	}
	if !c.bytesKnown && !c.textKnown { // neither offset can be verified
		c.offset = r.Offset
	}
	c.offset += r.Span()
	c.offsetKnown, c.minOffset = true, 0
	return problem
}

// mend appends a record that does not follow, reconstructing it as far as possible, and returns a
// description of the damage. next is the record with the next sequence, or nil.
func (c *chain) mend(r, next *replay.Record) (what string) {
	bytesFollow, textFollows := c.bytesFollow(r, r), c.textFollows(r, r)
	log, text := r.Log, r.Text
	lostLog, lostText := lacksLog(r), r.Lost.Has(replay.LostText)
	add := func(s string) {
		if what != "" {
			what += "; "
		}
		what += s
	}
	if bytesFollow == no {
		switch original, ok := c.bytesOf(r); {
		case next != nil && c.followedBy(r, next), r.Event != schema.EventOutput && len(r.Log) == 0:
			add("its digest is altered; the bytes up to here are as recorded")
		case ok:
			add("its bytes are not those that were recorded")
			log = original
		default:
			add("its bytes or its digest are not those that were recorded")
			lostLog = true
		}
	}
	if textFollows == no {
		switch original, ok := c.textOf(r); {
		case next != nil && c.textFollowedBy(r, next):
			add("its text digest is altered; the texts up to here are as recorded")
		case ok:
			add("its text is not the one that was recorded")
			text = original
		default:
			add("its text or its text digest is not the one that was recorded")
			lostText = true
		}
	}
	c.write(log, text, lostLog, lostText)
	if problem := c.pass(r); problem != "" {
		add(problem)
	}
	if lostLog {
		c.offsetKnown, c.minOffset = false, 0 // the original may be longer, or the record is from another place
	}
	return what
}

// bytesOf reconstructs the bytes for a record's digest from its text.
func (c *chain) bytesOf(r *replay.Record) (log []byte, ok bool) {
	if r.Lost.Has(replay.LostText) {
		return nil, false
	}
	for _, end := range []string{"\r\n", "\n", "\r\r\n", ""} {
		log = append(bytes.Clone(r.Text), end...)
		if c.sum(c.bytes, log) == r.Digest {
			return log, true
		}
	}
	return nil, false
}

// textOf reconstructs the text for a record's text digest from its other fields.
func (c *chain) textOf(r *replay.Record) (text []byte, ok bool) {
	text, ok = plainText(r)
	return text, ok && c.sum(c.text, text, newline) == r.TextDigest
}

// plainText returns the most likely text of a record: the text of an event, or output that is plain
// text itself.
func plainText(r *replay.Record) (text []byte, ok bool) {
	if r.Event != schema.EventOutput {
		if !hasEventFields(r) {
			return nil, false
		}
		return enrich.EventText(r.Event, r.Detail), true
	}
	if lacksLog(r) {
		return nil, false
	}
	line := bytes.TrimRight(r.Log, "\r\n")
	for _, b := range line {
		if b < ' ' || b > '~' {
			return nil, false
		}
	}
	return line, true
}

// elsewhere searches the record of a sequence under other sequences and returns its index, or -1.
// exchanged reports that the records at the two places have exchanged their contents but not their
// digests.
func (w *walk) elsewhere(n uint64, group []int) (found int, exchanged bool) {
	const window = 1000 // records before and after
	middle := w.following(n - 1)
	if middle < 0 {
		middle = len(w.records)
	}
	before := w.chain.hashed
	defer func() { w.budget -= w.chain.hashed - before }()
	for i := max(0, middle-window); i < min(len(w.records), middle+window); i++ {
		r := w.records[i]
		if w.used[i] || r.Sequence == n || w.chain.hashed-before > w.budget {
			continue
		}
		// For a record without bytes, the byte digest proves nothing.
		if len(r.Log) == 0 && w.chain.textFollows(r, r) != yes {
			continue
		}
		if w.chain.follows(r, r) == yes {
			return i, false
		}
		if len(group) == 1 && r.Sequence > n && w.chain.follows(r, w.records[group[0]]) == yes && w.areExchanged(group[0], i) {
			return i, true
		}
	}
	return -1, false
}

// areExchanged reports whether two records follow if they exchange their contents and the records
// between them are unchanged.
func (w *walk) areExchanged(a, b int) bool {
	first, second := w.records[a], w.records[b]
	if second.Sequence-first.Sequence != uint64(b-a) { // a record between them is missing or duplicated
		return false
	}
	log := [][]byte{second.Log}
	text := [][]byte{second.Text, newline}
	for _, r := range w.records[a+1 : b] {
		log = append(log, r.Log)
		text = append(text, r.Text, newline)
	}
	log, text = append(log, first.Log), append(text, first.Text, newline)
	return (!w.chain.bytesKnown || lacksLog(first) || w.chain.sum(w.chain.bytes, log...) == second.Digest) &&
		(!w.chain.textKnown || second.Lost.Has(replay.LostTextDigest) || w.chain.sum(w.chain.text, text...) == second.TextDigest)
}

// exchange swaps the contents of two records: everything except sequences, offsets and digests.
func (w *walk) exchange(a, b int) {
	first, second := *w.records[a], *w.records[b]
	w.records[a], w.records[b] = withContent(first, &second), withContent(second, &first)
}

func withContent(r replay.Record, of *replay.Record) *replay.Record {
	r.Event, r.Stream, r.Partial, r.Time, r.Log, r.Text, r.Timing, r.Detail = of.Event, of.Stream, of.Partial, of.Time, of.Log, of.Text, of.Timing, of.Detail
	return &r
}
