package config

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// scalar decodes a single value.
func (d *decoder) scalar(n ast.Node, v reflect.Value, f *field, path string) {
	text, isString, ok := textOf(n)
	if !ok {
		d.refuse(codeKind, path, "is %s; expected %s", kindOf(n), f.expectation())
		return
	}
	switch {
	case v.Type() == secretType:
		value, code, err := d.resolveSecret(path, text)
		switch {
		case err != nil:
			d.refuse(code, path, "%v", err)
		case value == "" && f.as != "env":
			d.refuse(codeNoValue, path, "is empty; expected a value, or the field left out")
		default:
			d.notePlain(path, text, f)
			v.Set(reflect.ValueOf(NewSecret(value)))
		}
	case strings.Contains(strings.ReplaceAll(text, "$${", ""), "${"):
		d.refuse(codeVariable, path, "\"${\" is replaced only in secrets and in the environment of apps, not here; expected the value itself, or $${ for the characters ${ themselves")
	case v.Kind() == reflect.Bool:
		b, ok := n.(*ast.BoolNode)
		if !ok {
			d.refuse(codeKind, path, "is %s; expected true or false%s", kindOf(n), meantBool(text))
			return
		}
		v.SetBool(b.Value)
	case v.Kind() == reflect.Int:
		d.bounded(v, f, path, text, parseInt)
	case v.Kind() == reflect.Float64:
		ratio, err := strconv.ParseFloat(text, 64)
		if err != nil || !(ratio > 0 && ratio <= 1) {
			d.refuse(codeNumber, path, "%s is not valid; expected %s", quote(text), f.expectation())
			return
		}
		v.SetFloat(ratio)
	case f.as == "size":
		d.bounded(v, f, path, text, parseSize)
	case f.as == "interval" && text == "always":
		v.SetInt(0)
	case v.Type() == durationType:
		d.bounded(v, f, path, text, parseDuration)
	case !isString && len(f.enum) > 0:
		d.text(v, f, path, text)
	case !isString && f.as != "text":
		hint := ": put it in quotes if it is one"
		if strings.Contains(f.want, "a port") { // which a number alone never has
			hint = ""
		}
		d.refuse(codeKind, path, "is %s; expected %s%s", kindOf(n), f.expectation(), hint)
	default:
		d.text(v, f, path, strings.ReplaceAll(text, "$${", "${"))
	}
}

// text sets a string.
func (d *decoder) text(v reflect.Value, f *field, path, text string) {
	switch {
	case text == "":
		d.refuse(codeNoValue, path, "is empty; expected %s, or the field left out", f.expectation())
	case strings.ContainsRune(text, 0):
		d.refuse(codeForm, path, "has a NUL character in it; expected %s", f.expectation())
	case len(f.enum) > 0 && !slices.Contains(f.enum, text):
		d.refuse(codeWord, path, "%s is not known here%s", quote(text), expected(text, f.enum))
	case f.as == "path" && isPasted(text), f.as != "keys" && isBlock(text):
		d.refuse(codePasted, path, "is a key or a certificate itself, and not shown here; expected %s", f.expectation())
	case f.as == "path" && strings.HasPrefix(text, "~"):
		d.refuse(codeForm, path, "\"~\" is not replaced by the home folder; expected the path written out, or ./~ for a name that begins so")
	case f.as == "path":
		v.SetString(resolvePath(d.dir, text))
	default:
		v.SetString(text)
	}
}

// bounded sets a number, parsed from text, that must be within the bounds of the field.
func (d *decoder) bounded(v reflect.Value, f *field, path, text string, parse numberParser) {
	value, hint, ok := parse(text)
	if !ok {
		d.refuse(codeNumber, path, "%s is not valid; expected %s%s", quote(text), f.expectation(), hint)
		return
	}
	// The bounds in the tags have the syntax of values.
	if f.min != "" {
		if least, _, _ := parse(f.min); value < least {
			d.refuse(codeRange, path, "%s is too small; expected at least %s%s", quote(text), f.min, missingUnit(f, text, least, parse))
			return
		}
	}
	if f.max != "" {
		if most, _, _ := parse(f.max); value > most {
			d.refuse(codeRange, path, "%s is too large; expected at most %s", quote(text), f.max)
			return
		}
	}
	v.SetInt(value)
}

// missingUnit returns a hint for a size without a unit, such as 1024, if it would be within bounds
// in megabytes.
func missingUnit(f *field, text string, least int64, parse numberParser) string {
	if f.as != "size" {
		return ""
	}
	value, _, ok := parse(text + "MB")
	if most, _, bounded := parse(f.max); ok && value >= least && (!bounded || value <= most) {
		return "; did you mean \"" + text + "MB\"?"
	}
	return ""
}

func textOf(n ast.Node) (text string, isString, ok bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true, true
	case *ast.LiteralNode:
		return n.Value.Value, true, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return n.GetToken().Value, false, true // as written
	}
	return "", false, false
}

// quote quotes a value for a message. It must not be used for secrets.
func quote(text string) string {
	if isPasted(text) {
		return "[a long text that may be a key, and is not shown]"
	}
	if r := []rune(text); len(r) > 60 {
		text = string(r[:60]) + "…"
	}
	return strconv.Quote(text)
}

func meantBool(text string) string {
	switch strings.ToLower(text) {
	case "yes", "on", "y", "1", "true":
		return `; did you mean "true"?`
	case "no", "off", "n", "0", "false":
		return `; did you mean "false"?`
	}
	return ""
}

// numberParser parses a number of some kind. If it fails, it may return a hint for the message.
type numberParser func(text string) (value int64, hint string, ok bool)

func parseInt(text string) (int64, string, bool) {
	n, err := strconv.ParseInt(text, 10, 32)
	return n, "", err == nil
}

var (
	sizeForm = regexp.MustCompile(`^([0-9]{1,18})\s?(?:([KMGT])(?:i?B)?|B)?$`)
	daysForm = regexp.MustCompile(`^([0-9]{1,4})\s?(?:d|days?)$`)
	bareForm = regexp.MustCompile(`^[0-9]{1,9}$`)
)

// parseSize parses a number of bytes. A unit is a power of 1024, as platforms and container
// runtimes count memory: 1024MB, 1024MiB, 1024M and 1GB are the same.
func parseSize(text string) (int64, string, bool) {
	m := sizeForm.FindStringSubmatch(text)
	if m == nil {
		return 0, "", false
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, "", false
	}
	shift := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[m[2]]
	if n > math.MaxInt64>>shift {
		return 0, "", false
	}
	return n << shift, "", true
}

// parseDuration parses a duration greater than 0.
func parseDuration(text string) (int64, string, bool) {
	if v, err := time.ParseDuration(text); err == nil && v > 0 {
		return int64(v), "", true
	}
	if m := daysForm.FindStringSubmatch(text); m != nil {
		days, _ := strconv.Atoi(m[1])
		return 0, fmt.Sprintf("; did you mean \"%dh\"?", days*24), false
	}
	if bareForm.MatchString(text) && strings.Trim(text, "0") != "" {
		return 0, fmt.Sprintf("; did you mean %q?", text+"s"), false
	}
	return 0, "", false
}
