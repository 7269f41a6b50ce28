// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/vmdebootstrap/vmdebootstrap/builder"
	"github.com/vmdebootstrap/vmdebootstrap/builder/suggest"
	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
	"github.com/vmdebootstrap/vmdebootstrap/oci"
)

// value is the value of a setting: what pflag and config files need.
type value interface {
	pflag.Value
	// dump returns the value as one text, or a list as several, that Set reads back. Passwords are hidden.
	dump() []string
}

// list is a value that Set adds to.
type list interface {
	value
	clear()
}

// textValue is any text.
type textValue struct{ p *string }

func (v textValue) Set(text string) error { *v.p = text; return nil }
func (v textValue) String() string        { return *v.p }
func (v textValue) Type() string          { return "TEXT" }
func (v textValue) dump() []string        { return []string{*v.p} }

// boolValue is on or off.
type boolValue struct{ p *bool }

// Set accepts the words of Python's ConfigParser and YAML.
func (v boolValue) Set(text string) error {
	switch strings.ToLower(text) {
	case "yes", "on", "1", "true":
		*v.p = true
	case "no", "off", "0", "false":
		*v.p = false
	default:
		return fmt.Errorf("%q is neither yes nor no", text)
	}
	return nil
}
func (v boolValue) String() string { return strconv.FormatBool(*v.p) }
func (v boolValue) Type() string   { return "bool" }

// dump uses Python's words, as vmdebootstrap 1.7 did.
func (v boolValue) dump() []string {
	if *v.p {
		return []string{"True"}
	}
	return []string{"False"}
}

// isolationValue is a kind of isolation.
type isolationValue struct{ p *oci.Isolation }

func (v isolationValue) Set(text string) error {
	isolation, err := oci.ParseIsolation(text)
	if err != nil {
		return fmt.Errorf("%w%s", err, suggest.Question(text, oci.Isolations()))
	}
	*v.p = isolation
	return nil
}
func (v isolationValue) String() string { return string(*v.p) }
func (v isolationValue) Type() string   { return "KIND" }
func (v isolationValue) dump() []string { return []string{string(*v.p)} }

// oppositeValue is the value of --no-X for the boolValue of X.
type oppositeValue struct{ boolValue }

func (v oppositeValue) Set(text string) error {
	err := v.boolValue.Set(text)
	if err == nil {
		*v.p = !*v.p
	}
	return err
}
func (v oppositeValue) String() string { return strconv.FormatBool(!*v.p) }

// sizeValue is a number of bytes.
type sizeValue struct{ p *diskimage.Size }

func (v sizeValue) Set(text string) error { return v.p.Set(text) }
func (v sizeValue) String() string        { return v.p.String() }
func (v sizeValue) Type() string          { return v.p.Type() }
func (v sizeValue) dump() []string        { return []string{strconv.FormatUint(uint64(*v.p), 10)} }

// countValue is a number that is not negative.
type countValue struct{ p *int }

func (v countValue) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a number like 10", text)
	}
	*v.p = n
	return nil
}
func (v countValue) String() string { return strconv.Itoa(*v.p) }
func (v countValue) Type() string   { return "N" }
func (v countValue) dump() []string { return []string{v.String()} }

// modeValue is the permissions of a file, in octal digits.
type modeValue struct{ p *fs.FileMode }

func (v modeValue) Set(text string) error {
	bits, err := strconv.ParseUint(strings.TrimPrefix(text, "0o"), 8, 32)
	if err != nil || fs.FileMode(bits)&^fs.ModePerm != 0 {
		return fmt.Errorf("%q is not a file mode like 0644", text)
	}
	*v.p = fs.FileMode(bits)
	return nil
}
func (v modeValue) String() string { return fmt.Sprintf("%04o", *v.p) }
func (v modeValue) Type() string   { return "MODE" }
func (v modeValue) dump() []string { return []string{v.String()} }

// choiceValue is one of a few words.
type choiceValue struct {
	p       *string
	choices []string
}

// errChoice marks a mistake as one of grammar: vmdebootstrap 1.7 exited with status 2 for it.
var errChoice = errors.New("invalid choice")

func (v choiceValue) Set(text string) error {
	if !slices.Contains(v.choices, text) {
		return fmt.Errorf("%w: %q (choose from %s)%s", errChoice, text, strings.Join(v.choices, ", "),
			suggest.Question(text, v.choices))
	}
	*v.p = text
	return nil
}
func (v choiceValue) String() string { return *v.p }
func (v choiceValue) Type() string   { return "WORD" }
func (v choiceValue) dump() []string { return []string{*v.p} }

// listValue is several texts, in the order in which they were given.
type listValue struct{ p *[]string }

// Set ignores an empty text, because scripts fill options from variables.
func (v listValue) Set(text string) error {
	if text != "" {
		*v.p = append(*v.p, text)
	}
	return nil
}
func (v listValue) String() string { return strings.Join(*v.p, ",") }
func (v listValue) Type() string   { return "LIST" }
func (v listValue) dump() []string { return slices.Clone(*v.p) }
func (v listValue) clear()         { *v.p = nil }

// actionsValue is the part of all actions that one option adds. The options share the list, so that their
// actions run in the order of the call.
type actionsValue struct {
	p    *[]builder.Action
	flag string
}

func (v actionsValue) Set(text string) error {
	if text == "" {
		return nil // as for any list
	}
	action, err := builder.ParseAction(v.flag, text)
	if err == nil {
		*v.p = append(*v.p, action)
	}
	return err
}
func (v actionsValue) String() string { return strings.Join(v.dump(), ",") }
func (v actionsValue) Type() string   { return "LIST" }
func (v actionsValue) clear() {
	*v.p = slices.DeleteFunc(*v.p, func(a builder.Action) bool { return a.Flag() == v.flag })
}
func (v actionsValue) dump() []string {
	var texts []string
	for _, a := range *v.p {
		if a.Flag() == v.flag {
			texts = append(texts, a.String())
		}
	}
	return texts
}

// secretValue is a password.
type secretValue struct{ p *builder.Secret }

func (v secretValue) Set(text string) error { *v.p = builder.NewSecret(text); return nil }
func (v secretValue) String() string        { return v.p.String() }
func (v secretValue) Type() string          { return "PASSWORD" }
func (v secretValue) dump() []string        { return []string{v.p.String()} }

// urlValue is a URL, which may contain credentials.
type urlValue struct{ p *builder.URL }

func (v urlValue) Set(text string) error { *v.p = builder.NewURL(text); return nil }
func (v urlValue) String() string        { return v.p.String() }
func (v urlValue) Type() string          { return "URL" }
func (v urlValue) dump() []string        { return []string{v.p.String()} }

// snapshotValue is a time in the past, in UTC.
type snapshotValue struct{ p *time.Time }

func (v snapshotValue) Set(text string) (err error) {
	*v.p = time.Time{}
	if text != "" {
		*v.p, err = builder.ParseSnapshot(text)
	}
	return err
}

func (v snapshotValue) String() string {
	if v.p.IsZero() {
		return ""
	}
	return v.p.Format(builder.SnapshotLayout)
}
func (v snapshotValue) Type() string   { return "DATE" }
func (v snapshotValue) dump() []string { return []string{v.String()} }

// mirrorsValue is the URLs of mirrors of one archive, with blanks between them, as debootstrap takes them.
type mirrorsValue struct {
	first  *builder.URL
	others *[]builder.URL
}

func (v mirrorsValue) Set(text string) error {
	*v.first, *v.others = builder.NewURL(""), nil
	for i, url := range strings.Fields(text) {
		if i == 0 {
			*v.first = builder.NewURL(url)
			continue
		}
		*v.others = append(*v.others, builder.NewURL(url))
	}
	return nil
}

func (v mirrorsValue) String() string {
	texts := []string{v.first.String()}
	for _, other := range *v.others {
		texts = append(texts, other.String())
	}
	return strings.Join(texts, " ")
}
func (v mirrorsValue) Type() string   { return "URL" }
func (v mirrorsValue) dump() []string { return []string{v.String()} }

// usersValue is several accounts, with or without passwords.
type usersValue struct{ p *[]builder.User }

func (v usersValue) Set(text string) error { *v.p = append(*v.p, builder.ParseUser(text)); return nil }
func (v usersValue) String() string        { return strings.Join(v.dump(), ",") }
func (v usersValue) Type() string          { return "USER" }
func (v usersValue) clear()                { *v.p = nil }
func (v usersValue) dump() []string {
	var texts []string
	for _, u := range *v.p {
		texts = append(texts, u.String())
	}
	return texts
}

// parsedValue is several values of a type with a syntax of its own.
type parsedValue[T fmt.Stringer] struct {
	p     *[]T
	parse func(text string) (T, error)
}

func (v parsedValue[T]) Set(text string) error {
	if text == "" {
		return nil
	}
	value, err := v.parse(text)
	if err == nil {
		*v.p = append(*v.p, value)
	}
	return err
}
func (v parsedValue[T]) String() string { return strings.Join(v.dump(), ",") }
func (v parsedValue[T]) Type() string   { return "LIST" }
func (v parsedValue[T]) clear()         { *v.p = nil }
func (v parsedValue[T]) dump() []string {
	var texts []string
	for _, value := range *v.p {
		texts = append(texts, value.String())
	}
	return texts
}

// hashesValue is the hashes of passwords of several accounts.
type hashesValue struct {
	parsedValue[builder.PasswordHash]
}

// auto is the word for a size that is computed.
const auto = "auto"

// autoSizeValue is a number of bytes, or auto.
type autoSizeValue struct {
	sizeValue
	auto *bool
}

func (v autoSizeValue) Set(text string) error {
	if *v.auto = text == auto; *v.auto {
		return nil
	}
	return v.sizeValue.Set(text)
}

func (v autoSizeValue) String() string {
	if *v.auto {
		return auto
	}
	return v.sizeValue.String()
}

func (v autoSizeValue) dump() []string {
	if *v.auto {
		return []string{auto}
	}
	return v.sizeValue.dump()
}

// spaceValue is a size or a percentage.
type spaceValue struct{ p *builder.Space }

func (v spaceValue) Set(text string) error {
	space, err := builder.ParseSpace(text)
	if err == nil {
		*v.p = space
	}
	return err
}
func (v spaceValue) String() string { return v.p.String() }
func (v spaceValue) Type() string   { return "SPACE" }
func (v spaceValue) dump() []string { return []string{v.p.String()} }

// remotesValue is several locations of shared snapshots.
type remotesValue struct{ p *[]builder.Remote }

func (v remotesValue) Set(text string) error {
	if text == "" {
		return nil
	}
	r, err := builder.ParseRemote(text)
	if err == nil {
		*v.p = append(*v.p, r)
	}
	return err
}
func (v remotesValue) String() string { return strings.Join(v.dump(), ",") }
func (v remotesValue) Type() string   { return "LOCATION" }
func (v remotesValue) clear()         { *v.p = nil }
func (v remotesValue) dump() []string {
	var texts []string
	for _, r := range *v.p {
		texts = append(texts, r.String())
	}
	return texts
}

// repositoriesValue is several repositories.
type repositoriesValue struct{ p *[]builder.Repository }

func (v repositoriesValue) Set(text string) error {
	if text == "" {
		return nil
	}
	all, err := builder.ParseRepositories(text)
	*v.p = append(*v.p, all...)
	return err
}
func (v repositoriesValue) String() string { return strings.Join(v.dump(), ",") }
func (v repositoriesValue) Type() string   { return "LIST" }
func (v repositoriesValue) clear()         { *v.p = nil }
func (v repositoriesValue) dump() []string {
	var texts []string
	for _, r := range *v.p {
		texts = append(texts, r.String())
	}
	return texts
}
