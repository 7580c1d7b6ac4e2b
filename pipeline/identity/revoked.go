package identity

import (
	"bytes"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Revocations are keys and certificates that are no longer good. A nil *Revocations revokes
// nothing. It does not change, and may be used by many goroutines.
type Revocations struct {
	keys         map[string]bool // by wire form
	sha1, sha256 map[string]bool // by the digest of the wire form
	lists        []certificateList
}

// A certificateList is the certificates of one CA that are revoked, or of any.
type certificateList struct {
	ca      string // the wire form of its key; "" for any
	serials map[uint64]bool
	ranges  []serialRange
	bitmaps []serialBitmap
	keyIDs  map[string]bool
}

type serialRange struct{ first, last uint64 }

// A serialBitmap has the serials whose distance to the offset is a bit that is set.
type serialBitmap struct {
	offset uint64
	bits   *big.Int
}

func newRevocations() *Revocations {
	return &Revocations{keys: make(map[string]bool), sha1: make(map[string]bool), sha256: make(map[string]bool)}
}

func newCertificateList(ca string) certificateList {
	return certificateList{ca: ca, serials: make(map[uint64]bool), keyIDs: make(map[string]bool)}
}

// Revokes says whether a certificate is revoked: by its key, by its CA's key, by its serial number
// or by its key ID. A serial number of 0 is that of certificates without one, and revokes none.
func (r *Revocations) Revokes(cert *ssh.Certificate) bool {
	if r == nil {
		return false
	}
	ca := string(cert.SignatureKey.Marshal())
	if r.revokesKey(string(cert.Key.Marshal())) || r.revokesKey(ca) {
		return true
	}
	for i := range r.lists {
		if l := &r.lists[i]; (l.ca == "" || l.ca == ca) && (l.keyIDs[cert.KeyId] || l.hasSerial(cert.Serial)) {
			return true
		}
	}
	return false
}

func (r *Revocations) revokesKey(wire string) bool {
	if r.keys[wire] {
		return true
	}
	old, digest := sha1.Sum([]byte(wire)), sha256.Sum256([]byte(wire))
	return r.sha1[string(old[:])] || r.sha256[string(digest[:])]
}

func (l *certificateList) hasSerial(serial uint64) bool {
	if serial == 0 {
		return false
	}
	if l.serials[serial] {
		return true
	}
	for _, r := range l.ranges {
		if r.first <= serial && serial <= r.last {
			return true
		}
	}
	for _, b := range l.bitmaps {
		// A distance that does not fit is beyond the bits of any list that can be read.
		if distance := serial - b.offset; serial >= b.offset && distance < uint64(b.bits.BitLen()) && b.bits.Bit(int(distance)) == 1 {
			return true
		}
	}
	return false
}

// ParseRevocations reads a list of what is revoked: a key revocation list as `ssh-keygen -k` makes
// it, or a text as that takes it and sshd's RevokedKeys does. A text has in each line a public key
// (or a certificate: its key), or one of
//
//	serial: 17          a certificate's serial number, or a range: 17-23
//	id: KEY ID          a certificate's key ID
//	key: KEY            a public key
//	sha256: SHA256:…    a public key's fingerprint
//
// and comments after "#". Serial numbers and key IDs in a text are those of any CA that it is used
// for. What is not understood is an error: a list that was read in part would let in whom it
// revokes. The error quotes nothing.
func ParseRevocations(data []byte) (*Revocations, error) {
	if bytes.HasPrefix(data, []byte(krlMagic)) {
		return parseKRL(data)
	}
	if bytes.Contains(data, []byte("PRIVATE KEY-----")) {
		return nil, errors.New("holds a private key; expected a list of what is revoked")
	}
	r := newRevocations()
	list := newCertificateList("")
	number := 0
	for line := range strings.Lines(string(data)) {
		number++
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if !r.addLine(line, &list) {
			return nil, fmt.Errorf("has no public key, serial:, id:, key: or sha256: in its line %d; expected a list that ssh-keygen -k makes or takes", number)
		}
	}
	r.lists = append(r.lists, list)
	return r, nil
}

// addLine takes one line of a text, and says whether it was understood.
func (r *Revocations) addLine(line string, list *certificateList) bool {
	// A key's algorithm is no word with a colon.
	word, value, _ := strings.Cut(line, ":")
	value = strings.TrimSpace(value)
	switch strings.ToLower(word) {
	case "serial":
		from, to, isRange := strings.Cut(value, "-")
		if !isRange {
			to = from
		}
		first, err1 := strconv.ParseUint(strings.TrimSpace(from), 0, 64)
		last, err2 := strconv.ParseUint(strings.TrimSpace(to), 0, 64)
		if err1 != nil || err2 != nil || first == 0 || first > last {
			return false
		}
		list.ranges = append(list.ranges, serialRange{first, last})
		return true
	case "id":
		list.keyIDs[value] = true
		return value != ""
	case "sha256":
		digest, err := base64.RawStdEncoding.DecodeString(strings.TrimPrefix(value, "SHA256:"))
		if err != nil || len(digest) != sha256.Size {
			return false
		}
		r.sha256[string(digest)] = true
		return true
	case "key":
		line = value
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line))
	if err != nil {
		return false
	}
	if cert, ok := key.(*ssh.Certificate); ok {
		key = cert.Key
	}
	r.keys[string(key.Marshal())] = true
	return true
}
