package identity

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
)

// The format of OpenSSH's key revocation lists (PROTOCOL.krl). There is no maintained Go library
// for it.
const (
	krlMagic   = "SSHKRL\n\x00"
	krlVersion = 1

	krlCertificates = 1
	krlKeys         = 2
	krlSHA1         = 3
	krlSHA256       = 5
	krlExtension    = 255

	krlSerials      = 0x20
	krlSerialRange  = 0x21
	krlSerialBitmap = 0x22
	krlKeyIDs       = 0x23
	krlCAExtension  = 0x39
)

// errKRL is returned for a list that is too short or too long.
var errKRL = errors.New("is a damaged key revocation list; generate it again with ssh-keygen -k")

// krlReader reads the data types of RFC 4251 §5. After an error it returns zero values.
type krlReader struct {
	data []byte
	bad  bool
}

func (r *krlReader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.data)) {
		r.bad, r.data = true, nil
		return nil
	}
	taken := r.data[:n]
	r.data = r.data[n:]
	return taken
}

func (r *krlReader) more() bool { return !r.bad && len(r.data) > 0 }

func (r *krlReader) byte() byte {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *krlReader) uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *krlReader) uint64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *krlReader) string() []byte { return r.take(uint64(r.uint32())) }

// parseKRL parses a key revocation list. It rejects lists with signatures, which OpenSSH itself no
// longer checks.
func parseKRL(data []byte) (*Revocations, error) {
	in := &krlReader{data: data[len(krlMagic):]}
	if version := in.uint32(); !in.bad && version != krlVersion {
		return nil, fmt.Errorf("is a key revocation list of format %d; expected format %d, as ssh-keygen -k makes it", version, krlVersion)
	}
	in.take(3 * 8) // the list's own version, generation date, flags
	in.string()    // reserved
	in.string()    // a comment
	r := newRevocations()
	for in.more() {
		kind := in.byte()
		section := &krlReader{data: in.string()}
		switch kind {
		case krlCertificates:
			list, err := parseCertificates(section)
			if err != nil {
				return nil, err
			}
			r.lists = append(r.lists, list)
		case krlKeys:
			section.strings(r.keys)
		case krlSHA1:
			section.strings(r.sha1)
		case krlSHA256:
			section.strings(r.sha256)
		case krlExtension:
			if err := section.extension(); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("is a key revocation list with a section of the unknown type %d", kind)
		}
		in.bad = in.bad || section.bad
	}
	if in.bad {
		return nil, errKRL
	}
	return r, nil
}

// strings reads strings to the end into a set.
func (r *krlReader) strings(set map[string]bool) {
	for r.more() {
		set[string(r.string())] = true
	}
}

// extension reads an extension. None is known, so a critical one makes the list unusable.
func (r *krlReader) extension() error {
	r.string() // its name
	critical := r.byte() != 0
	r.string()
	if critical && !r.bad {
		return errors.New("is a key revocation list with a critical extension, which is not supported")
	}
	return nil
}

// parseCertificates parses a section about the certificates of one CA, or of any.
func parseCertificates(in *krlReader) (certificateList, error) {
	list := newCertificateList(string(in.string()))
	in.string() // reserved
	for in.more() {
		kind := in.byte()
		part := &krlReader{data: in.string()}
		switch kind {
		case krlSerials:
			for part.more() {
				list.serials[part.uint64()] = true
			}
		case krlSerialRange:
			list.ranges = append(list.ranges, serialRange{part.uint64(), part.uint64()})
		case krlSerialBitmap:
			offset := part.uint64()
			bits := part.string() // a non-negative mpint
			list.bitmaps = append(list.bitmaps, serialBitmap{offset, new(big.Int).SetBytes(bits)})
		case krlKeyIDs:
			part.strings(list.keyIDs)
		case krlCAExtension:
			if err := part.extension(); err != nil {
				return list, err
			}
		default:
			return list, fmt.Errorf("is a key revocation list with a certificate section of the unknown type %#x", kind)
		}
		in.bad = in.bad || part.bad || len(part.data) > 0
	}
	return list, nil
}
