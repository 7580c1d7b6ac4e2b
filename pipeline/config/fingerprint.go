package config

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"reflect"
	"slices"
)

// fingerprintRounds make it slow to guess a password from a fingerprint: about a tenth of a second.
const fingerprintRounds = 100_000

// Fingerprint returns a text that differs for other settings of the drain, or another salt, and
// stays the same over restarts. It may be stored in places that others can read, so it hashes the
// secrets like passwords: with PBKDF2 (RFC 8018) and SHA-256. The content of files other than
// secrets is not included.
func (d Drain) Fingerprint(salt string) string {
	var text bytes.Buffer
	spell(&text, reflect.ValueOf(d))
	key, err := pbkdf2.Key(sha256.New, text.String(), []byte(salt), fingerprintRounds, sha256.Size)
	if err != nil { // FIPS 140 rejects the salt as too short: it is not one of ttydrain's, so there is no fingerprint
		return ""
	}
	return hex.EncodeToString(key)
}

// spell writes the complete value, including secrets, so that different values have different
// texts.
func spell(into *bytes.Buffer, v reflect.Value) {
	if v.Type() == secretType {
		s := v.Interface().(Secret)
		fmt.Fprintf(into, "%t%q,", s.IsSet(), s.Reveal())
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			into.WriteString("nil,")
			return
		}
		spell(into, v.Elem())
	case reflect.Struct:
		into.WriteByte('{')
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				into.WriteString(f.Name + ":")
				spell(into, v.Field(i))
			}
		}
		into.WriteString("},")
	case reflect.Slice:
		into.WriteByte('[')
		for i := range v.Len() {
			spell(into, v.Index(i))
		}
		into.WriteString("],")
	case reflect.Map:
		values := make(map[string]reflect.Value)
		for k, e := range v.Seq2() {
			values[k.String()] = e
		}
		into.WriteByte('[')
		for _, k := range slices.Sorted(maps.Keys(values)) {
			fmt.Fprintf(into, "%q:", k)
			spell(into, values[k])
		}
		into.WriteString("],")
	default:
		fmt.Fprintf(into, "%#v,", v.Interface())
	}
}
