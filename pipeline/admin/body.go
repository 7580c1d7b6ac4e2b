package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ttydrain/ttydrain/pipeline/admin/console"
	"github.com/ttydrain/ttydrain/pipeline/admin/openapi"
)

// readBody reads the body of a request within the deadline for it. The operation itself may take
// longer.
func readBody(r *http.Request) error {
	data, err := io.ReadAll(r.Body)
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return &console.Refusal{Status: http.StatusRequestEntityTooLarge, Reason: fmt.Sprintf("the body is longer than %d bytes", tooLarge.Limit)}
	}
	if err != nil {
		return refusal{errors.New("the body could not be read")}
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	return nil
}

// decodeBody decodes the JSON object in a request's body into the struct that value points to. It
// is stricter than [json.Unmarshal]: unknown names, names in another case, null, lengths that
// [fields] do not allow, and text that is not UTF-8 are refused. The errors say what is expected
// instead.
func decodeBody(r *http.Request, value any, expected string) error {
	if kind := r.Header.Get("Content-Type"); kind != "" {
		if media, _, err := mime.ParseMediaType(kind); err != nil || media != openapi.JSON {
			return &console.Refusal{Status: http.StatusUnsupportedMediaType, Reason: "the body has another type than " + openapi.JSON + ": set the header Content-Type to it"}
		}
	}
	data, err := io.ReadAll(r.Body) // it was read already
	if err == nil {
		err = decodeStrict(data, value)
	}
	if err != nil {
		return refusal{fmt.Errorf("invalid body: %w: expected %s", err, expected)}
	}
	return nil
}

func decodeStrict(data []byte, value any) error {
	if !utf8.Valid(data) {
		return errors.New("it is not UTF-8")
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err != nil {
		return errors.New("it is not a JSON object")
	}
	known := openapi.Fields(reflect.TypeOf(value).Elem())
	for name, content := range object {
		i := slices.IndexFunc(known, func(f openapi.StructField) bool { return f.Name == name })
		if i < 0 {
			return fmt.Errorf("the field %.50q is unknown", name)
		}
		if hasNull(content) {
			return fmt.Errorf("the field %q is null", name)
		}
		if err := fields[known[i].Of+"."+name].Check(content); err != nil {
			return fmt.Errorf("the field %q: %w", name, err)
		}
	}
	if object == nil {
		return errors.New("it is null")
	}
	err := json.Unmarshal(data, value)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("the field %q has another type", strings.TrimSuffix(wrong.Field, "."))
	}
	if err != nil {
		return errors.New("a field has an invalid value")
	}
	return nil
}

// hasNull reports whether a JSON value is or contains null.
func hasNull(value any) bool {
	switch v := value.(type) {
	case nil:
		return true
	case []any:
		return slices.ContainsFunc(v, hasNull)
	}
	return false // no body has objects in fields
}
