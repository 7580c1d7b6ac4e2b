// Package config reads ttydrain's configuration: one YAML file.
//
// It is strict: an unknown field, a duplicate key, a reference to an unknown name, and an
// unreadable key file are all errors. [Load] reports all of them at once as [Mistakes], each with
// its position in the file, the expected value, and the nearest valid name.
//
// The structs' tags are the single description of the file. The decoder, the search for the nearest
// name, and the test that compares schema/config.schema.json with the fields all read them:
//
//	yaml:"name"        the field's name; ",inline" for a struct whose fields belong to its parent
//	rule:"required"    must be set
//	enum:"a|b"         one of these words
//	as:"path"          a file or folder; relative to the configuration's folder
//	as:"paths"         a list of paths, or one path
//	as:"size"          bytes, with a unit: 1024MB
//	as:"interval"      a duration, or "always" for 0
//	as:"text"          text that may be written as a number, without quotes
//	as:"env"           a map of environment variables; its values may be empty
//	min:"1" max:"9"    bounds, in the syntax of the value
//	want:"…"           the expected value, for messages
//	variant:"https"    on a pointer: the fields of its struct belong to the parent if the parent's
//	                   field "type" has this value
//
// A new setting needs a field with tags, its check in a finish method, and an entry in the JSON
// Schema, whose test fails otherwise.
//
// Secret values have the type [Secret]. Only these, including the environment of apps, may use
// ${NAME} and file:PATH.
//
// A loaded [Config] never changes. A reload loads a new one and compares its drains with the old
// ones by [reflect.DeepEqual], which includes secrets.
package config
