package config

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// hidden is the only output of a Secret.
const hidden = "[secret]"

// Secret is a value that is never printed: all ways of printing it return "[secret]". Only
// [Secret.Reveal] returns the value. The zero Secret is not set.
//
// Secrets must be compared with [reflect.DeepEqual], never with ==.
type Secret struct {
	// value is a pointer because fmt does not call the methods of unexported fields: it prints a
	// pointer there as an address.
	value *string
}

// NewSecret returns a Secret with a value.
func NewSecret(value string) Secret { return Secret{&value} }

// Reveal returns the value; "" if it is not set.
func (s Secret) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsSet reports whether there is a value.
func (s Secret) IsSet() bool { return s.value != nil }

func (s Secret) String() string               { return hidden }
func (s Secret) GoString() string             { return hidden }
func (s Secret) Format(f fmt.State, _ rune)   { _, _ = f.Write([]byte(hidden)) }
func (s Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }
func (s Secret) MarshalJSON() ([]byte, error) { return []byte(`"` + hidden + `"`), nil }
func (s Secret) MarshalYAML() (any, error)    { return hidden, nil }
func (s Secret) LogValue() slog.Value         { return slog.StringValue(hidden) }

// maxSecretFile is the maximum size of a secret's file.
const maxSecretFile = 64 << 10

var envName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// resolveSecret returns the value of a secret from its text in the configuration: "file:PATH" is
// the content of a file, without a final newline; otherwise ${NAME} is an environment variable, and
// $${ is "${". The content of a variable or a file is used verbatim. Errors contain nothing that
// could be the secret; the code is for them.
func (d *decoder) resolveSecret(setting, text string) (string, Code, error) {
	path, isFile := strings.CutPrefix(text, "file:")
	if isFile {
		path = strings.TrimSpace(path)
	} else {
		path = text
	}
	value, err := expandEnv(path)
	if err != nil || !isFile {
		return value, codeVariable, err
	}
	if value == "" {
		return "", codeFile, errors.New("names no file; expected file:PATH")
	}
	file := resolvePath(d.dir, value)
	d.keepPrivate(setting, file)
	data, err := d.readFile(file, maxSecretFile)
	if err != nil {
		// The path as written, without the values of its variables.
		return "", codeFile, fmt.Errorf("the file %q %w; create it, or correct the path (relative ones start at the configuration's folder)", path, err)
	}
	value = string(data)
	if cut, ok := strings.CutSuffix(value, "\n"); ok {
		value = strings.TrimSuffix(cut, "\r")
	}
	return value, "", nil
}

func expandEnv(text string) (string, error) {
	var b strings.Builder
	for {
		i := strings.Index(text, "${")
		if i < 0 {
			b.WriteString(text)
			return b.String(), nil
		}
		if i > 0 && text[i-1] == '$' { // $${
			b.WriteString(text[:i-1] + "${")
			text = text[i+2:]
			continue
		}
		name, rest, closed := strings.Cut(text[i+2:], "}")
		if !closed || !envName.MatchString(name) {
			return "", errors.New("has a \"${\" without a name and \"}\" after it; expected ${NAME}, or $${ for the characters ${ themselves")
		}
		value, ok := os.LookupEnv(name)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set; expected it in the environment that ttydrain is started with", name)
		}
		b.WriteString(text[:i] + value)
		text = rest
	}
}

// resolvePath resolves a path in the configuration.
func resolvePath(dir, path string) string {
	if filepath.IsAbs(path) {
		return filepath.Clean(path)
	}
	return filepath.Join(dir, path)
}
