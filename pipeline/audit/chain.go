package audit

import (
	"bytes"
	"crypto/sha256"
	"hash"

	"github.com/ttydrain/ttydrain/enrich"
	"github.com/ttydrain/ttydrain/pipeline/replay"
	"github.com/ttydrain/ttydrain/schema"
)

// An answer may not be known.
type answer uint8

const (
	unknown answer = iota
	yes
	no
)

// both is what two answers come to.
func both(a, b answer) answer {
	switch {
	case a == no || b == no:
		return no
	case a == yes || b == yes:
		return yes
	}
	return unknown
}

// A chain is how far the running digests have come. Where a record is missing, or has not what it
// takes, a digest can't go on.
type chain struct {
	bytes, text           hash.Cloner // states of SHA-256
	bytesKnown, textKnown bool
	offset                uint64 // of the next record
	offsetKnown           bool
	least                 uint64 // than which the next offset is not less, where it is not known
	hashed                int    // bytes, in trying
}

func newChain() chain {
	return chain{bytes: sha256.New().(hash.Cloner), text: sha256.New().(hash.Cloner), bytesKnown: true, textKnown: true, offsetKnown: true}
}

// dead says that nothing can be told of what follows.
func (c *chain) dead() bool { return !c.bytesKnown && !c.textKnown }

// lose says that what was before the next record is not known.
func (c *chain) lose() { c.bytesKnown, c.textKnown, c.offsetKnown, c.least = false, false, false, 0 }

func (c *chain) loseText() { c.textKnown = false }

// sum is the digest of a state and what follows it. The state stays as it is.
func (c *chain) sum(state hash.Cloner, parts ...[]byte) (d schema.Digest) {
	h, err := state.Clone()
	if err != nil { // SHA-256 of the standard library can be cloned
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

// bytesFollow says whether the bytes of a record, behind what was before, have a digest.
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

// follows says whether the content of a record, behind what was before, has the digests of a
// record.
func (c *chain) follows(content, digest *replay.Record) answer {
	return both(c.bytesFollow(content, digest), c.textFollows(content, digest))
}

// lacksLog says that a record has bytes, and that the copy does not have them.
func lacksLog(r *replay.Record) bool {
	return r.Lost.Has(replay.LostLog) && r.Event == schema.EventOutput
}

// followedBy says whether a record and then another have the digests of that.
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

// advance goes on behind a record, and says what is wrong with its offset.
func (c *chain) advance(r *replay.Record) (problem string) {
	if lacksLog(r) && c.bytesKnown && !r.Lost.Has(replay.LostDigest) {
		if log, ok := c.bytesOf(r); ok {
			c.write(log, r.Text, false, false)
			problem = c.pass(r)
			c.offset, c.offsetKnown, c.least = r.Offset+uint64(len(log)), true, 0
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

// pass goes on behind a record's offset.
func (c *chain) pass(r *replay.Record) (problem string) {
	if c.offsetKnown && r.Offset != c.offset || r.Offset < c.least {
		problem = "its offset does not follow from the records before"
	}
	if !c.offsetKnown {
		c.offset = r.Offset
	}
	if lacksLog(r) {
		c.offsetKnown = false
		c.least = max(c.least, r.Offset) + 1 // a record shows a byte at least
		return problem
	}
	if !c.bytesKnown && !c.textKnown { // nothing tells which of both offsets is right
		c.offset = r.Offset
	}
	c.offset += r.Span()
	c.offsetKnown, c.least = true, 0
	return problem
}

// mend goes on behind a record that does not follow, as far as what it should be can be told, and
// says what is wrong. next is the record of the next sequence; nil for none.
func (c *chain) mend(r, next *replay.Record) (what string) {
	bytesFollow, textFollows := c.bytesFollow(r, r), c.textFollows(r, r)
	log, text := r.Log, r.Text
	lostLog, lostText := lacksLog(r), r.Lost.Has(replay.LostText)
	say := func(s string) {
		if what != "" {
			what += "; "
		}
		what += s
	}
	if bytesFollow == no {
		switch was, ok := c.bytesOf(r); {
		case next != nil && c.followedBy(r, next), r.Event != schema.EventOutput && len(r.Log) == 0:
			say("its digest is not that of the bytes up to here, which are as they were recorded")
		case ok:
			say("its bytes are not those that were recorded")
			log = was
		default:
			say("its bytes, or its digest, are not those that were recorded")
			lostLog = true
		}
	}
	if textFollows == no {
		switch was, ok := c.textOf(r); {
		case next != nil && c.textFollowedBy(r, next):
			say("its text digest is not that of the texts up to here, which are as they were recorded")
		case ok:
			say("its text is not the one that was recorded")
			text = was
		default:
			say("its text, or its text digest, is not the one that was recorded")
			lostText = true
		}
	}
	c.write(log, text, lostLog, lostText)
	if problem := c.pass(r); problem != "" {
		say(problem)
	}
	if lostLog {
		c.offsetKnown, c.least = false, 0 // it may have been longer, or is one of another place
	}
	return what
}

// bytesOf gives the bytes that a record with its digest had, where its text tells them.
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

// textOf gives the text that a record with its text digest had, where its other fields tell it.
func (c *chain) textOf(r *replay.Record) (text []byte, ok bool) {
	text, ok = plainText(r)
	return text, ok && c.sum(c.text, text, newline) == r.TextDigest
}

// plainText is the text that a record most likely has: that of an event, or bytes that are plain
// text themselves.
func plainText(r *replay.Record) (text []byte, ok bool) {
	if r.Event != schema.EventOutput {
		if !tellsEvent(r) {
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

// elsewhere looks for the record that belongs to a sequence under other ones. It gives its index,
// or -1; exchanged says that the content is there, and what it should be under the digests of the
// group.
func (w *walk) elsewhere(n uint64, group []int) (found int, exchanged bool) {
	const window = 1000 // records before and behind
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
		// Of a record without bytes, the digest of the bytes tells nothing.
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

// areExchanged says whether two records follow, each with the content of the other, and those
// between them as they are.
func (w *walk) areExchanged(a, b int) bool {
	first, second := w.records[a], w.records[b]
	if second.Sequence-first.Sequence != uint64(b-a) { // one is missing between, or twice
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

// exchange gives two records each other's content: what was shown, without sequences, offsets and
// digests.
func (w *walk) exchange(a, b int) {
	first, second := *w.records[a], *w.records[b]
	w.records[a], w.records[b] = withContent(first, &second), withContent(second, &first)
}

func withContent(r replay.Record, of *replay.Record) *replay.Record {
	r.Event, r.Stream, r.Partial, r.Time, r.Log, r.Text, r.Timing, r.Detail = of.Event, of.Stream, of.Partial, of.Time, of.Log, of.Text, of.Timing, of.Detail
	return &r
}
