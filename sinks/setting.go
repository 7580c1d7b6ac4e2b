package sinks

import (
	"errors"
	"fmt"
)

// A SettingError reports that a sink does not accept one of its settings. It quotes no secret.
type SettingError struct {
	// Setting is the name that the setting has in the configuration, such as "api_key" or
	// "urls[0]".
	Setting string
	// Problem continues a sentence that begins with the name: "is empty; expected at least one".
	Problem string
	// Err is the cause, or nil. Problem repeats its text where that helps.
	Err error
}

// RefuseSetting returns a [*SettingError] without a cause. The format makes its Problem.
func RefuseSetting(setting, format string, args ...any) error {
	return &SettingError{Setting: setting, Problem: fmt.Sprintf(format, args...)}
}

func (e *SettingError) Error() string { return e.Setting + " " + e.Problem }

func (e *SettingError) Unwrap() error { return e.Err }

// SettingsWithin puts the name of a mapping in front of the settings that err reports: "ca_file"
// becomes "oidc.ca_file".
func SettingsWithin(mapping string, err error) error {
	var all []error
	for _, one := range SettingErrors(err) {
		if e, ok := one.(*SettingError); ok {
			one = &SettingError{Setting: mapping + "." + e.Setting, Problem: e.Problem, Err: e.Err}
		}
		all = append(all, one)
	}
	return errors.Join(all...)
}

// SettingErrors returns each [*SettingError] that err joins or wraps, or err itself if there is
// none.
func SettingErrors(err error) []error {
	if found := settingErrors(err); len(found) > 0 || err == nil {
		return found
	}
	return []error{err}
}

func settingErrors(err error) (found []error) {
	switch e := err.(type) {
	case nil:
	case *SettingError:
		found = []error{e}
	case interface{ Unwrap() []error }:
		for _, one := range e.Unwrap() {
			found = append(found, SettingErrors(one)...)
		}
	default:
		found = settingErrors(errors.Unwrap(err))
	}
	return found
}
