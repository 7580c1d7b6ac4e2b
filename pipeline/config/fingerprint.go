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

// fingerprintRounds make it slow to find out a password from a fingerprint: a tenth of a second,
// about.
const fingerprintRounds = 100_000

// Fingerprint is another text for other settings of the drain, or another salt, also over restarts.
// It is kept where others may read it, so that it is made of the secrets as passwords are hashed:
// PBKDF2 (RFC 8018) with SHA-256. What is in files that the settings name, but for secrets, is not
// part of it.
func (d Drain) Fingerprint(salt string) string {
	var text bytes.Buffer
	spell(&text, reflect.ValueOf(d))
	key, err := pbkdf2.Key(sha256.New, text.String(), []byte(salt), fingerprintRounds, sha256.Size)
	if err != nil { // a salt that FIPS 140 finds too short: it is none of ours, and the fingerprint none either
		return ""
	}
	return hex.EncodeToString(key)
}

// spell writes all that a value has, secrets too, so that different values are different texts.
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
