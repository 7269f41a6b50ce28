// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// rootUser is the account that every system has.
const rootUser = "root"

// PasswordHash is the hash of an account's password.
type PasswordHash struct {
	User string
	Hash secret.Text
}

// ParsePasswordHash reads USER:HASH.
func ParsePasswordHash(text string) (PasswordHash, error) {
	user, hash, ok := strings.Cut(text, ":")
	if !ok || user == "" {
		return PasswordHash{}, errors.New("it is not of the form USER:HASH")
	}
	return PasswordHash{user, secret.New(hash)}, nil
}

// AuthorizedKeys is a file of public keys, in the format of authorized_keys in sshd(8), with which one account can log
// in.
type AuthorizedKeys struct{ User, File string }

// ParseAuthorizedKeys reads USER:FILE.
func ParseAuthorizedKeys(text string) (AuthorizedKeys, error) {
	user, file, _ := strings.Cut(text, ":")
	if user == "" || file == "" {
		return AuthorizedKeys{}, errors.New("it is not of the form USER:FILE")
	}
	return AuthorizedKeys{user, file}, nil
}

// String returns what ParseAuthorizedKeys reads.
func (k AuthorizedKeys) String() string { return k.User + ":" + k.File }

// SSHKeyFiles returns the files of public keys of an account: those of --ssh-key, which are for the users, or for root
// if there are none, and those of its own.
func (o Options) SSHKeyFiles(user string) []string {
	var files []string
	if user != rootUser || len(o.Users) == 0 {
		files = slices.Clone(o.SSHKeys)
	}
	for _, k := range o.AuthorizedKeys {
		if k.User == user {
			files = append(files, k.File)
		}
	}
	return files
}

// namedKeys are all files of public keys, with the options that name them.
func (o Options) namedKeys() []struct{ flag, file string } {
	var all []struct{ flag, file string }
	for _, name := range o.SSHKeys {
		all = append(all, struct{ flag, file string }{"--ssh-key", name})
	}
	for _, k := range o.AuthorizedKeys {
		all = append(all, struct{ flag, file string }{authorizedKeysFlag, k.File})
	}
	return all
}

const authorizedKeysFlag = "--authorized-keys"

// String returns what ParsePasswordHash reads, with the hash hidden.
func (p PasswordHash) String() string { return p.User + ":" + p.Hash.String() }

var (
	// cryptHash is a hash in the form of crypt(5), of a method that is not broken.
	cryptHash = regexp.MustCompile(`^\$(y|gy|7|2[aby]|6|5)\$[./A-Za-z0-9$=,]+$`)
	// timezoneName is a name in the tz database.
	timezoneName = regexp.MustCompile(`^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$`)
	// localeName is a name of locales(5) with the only encoding that Debian supports for new systems.
	localeName = regexp.MustCompile(`^([a-z]{2,3}(_[A-Z]{2})?|C)\.UTF-8(@[a-z]+)?$`)
	// keymapName is LAYOUT or LAYOUT:VARIANT, see xkeyboard-config(7).
	keymapName = regexp.MustCompile(`^[a-z]{2,}(,[a-z]{2,})*(:[A-Za-z0-9_,-]+)?$`)
)

// passwordHashes: each account exists, and has one password.
func passwordHashes(s Spec) []error {
	const flag = "--password-hash"
	var problems []error
	seen := map[string]bool{}
	for _, p := range s.o.PasswordHashes {
		has := p.User == rootUser && !s.o.RootPassword.IsZero()
		for _, u := range s.o.Users {
			has = has || u.Name == p.User && !u.Password.IsZero()
		}
		switch {
		case !s.hasAccount(p.User):
			problems = append(problems, problem.New(flag, noAccount, loggable(p.User))...)
		case has || seen[p.User]:
			problems = append(problems, problem.New(flag, "%s has a password already", p.User)...)
		case p.Hash.Reveal() == secret.Hidden:
			problems = append(problems, problem.New(flag, "%q stands for a hash that --dump-config hid: write the hash in its "+
				"place", secret.Hidden)...)
		case !cryptHash.MatchString(p.Hash.Reveal()):
			problems = append(problems, problem.New(flag, "what follows %s: is not a hash as mkpasswd(1) prints it, "+
				"$METHOD$…, of yescrypt, bcrypt or SHA", p.User)...)
		}
		seen[p.User] = true
	}
	return problems
}

// noAccount is the problem of an option for an account that the image does not get.
const noAccount = "%q is neither root nor the name of a --user"

// hasAccount reports whether the account is root's or that of a --user.
func (s Spec) hasAccount(user string) bool {
	return user == rootUser || slices.ContainsFunc(s.o.Users, func(u User) bool { return u.Name == user })
}

// hasHash reports whether --password-hash names the account.
func (s Spec) hasHash(user string) bool {
	return slices.ContainsFunc(s.o.PasswordHashes, func(p PasswordHash) bool { return p.User == user })
}

// sshKeysRead: each file of --ssh-key and --authorized-keys has public keys and nothing else, and the accounts exist.
func sshKeysRead(s Spec) []error {
	var problems []error
	for _, k := range s.o.AuthorizedKeys {
		if !s.hasAccount(k.User) {
			problems = append(problems, problem.New(authorizedKeysFlag, noAccount, loggable(k.User))...)
		}
	}
	for _, k := range s.o.namedKeys() {
		if s.w.ReadFile == nil {
			if _, err := s.w.Stat(k.file); err != nil {
				problems = append(problems, problem.New(k.flag, "%w", err)...)
			}
			continue
		}
		text, err := s.w.ReadFile(k.file)
		if err == nil {
			err = checkSSHKeys(text)
			if err != nil {
				err = fmt.Errorf("%s: %w", k.file, err)
			}
		}
		if err != nil {
			problems = append(problems, problem.New(k.flag, "%w", err)...)
		}
	}
	return problems
}

// checkSSHKeys returns what is wrong with a file of public keys. It shows nothing of it: the file may be the wrong one.
func checkSSHKeys(text []byte) error {
	if bytes.Contains(text, []byte("PRIVATE KEY-----")) {
		return errors.New("it is a private key; name the file of the public key, which ends in .pub")
	}
	keys, number := 0, 0
	for line := range bytes.Lines(text) {
		number++
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		if _, _, _, _, err := ssh.ParseAuthorizedKey(line); err != nil {
			return fmt.Errorf("line %d is not a public key in the format of authorized_keys", number)
		}
		keys++
	}
	if keys == 0 {
		return errors.New("it has no public key")
	}
	return nil
}

// localeKnown: the names have the form of a time zone, a locale and a keyboard. Which there are, packages of the image
// say.
func localeKnown(s Spec) []error {
	var problems []error
	for _, c := range []struct {
		flag, value string
		form        *regexp.Regexp
		example     string
	}{
		{"--timezone", s.o.Timezone, timezoneName, "a time zone like Europe/Berlin"},
		{"--locale", s.o.Locale, localeName, "a locale like de_DE.UTF-8"},
		{"--keymap", s.o.Keymap, keymapName, "a keyboard layout like de or us:intl"},
	} {
		if c.value != "" && !c.form.MatchString(c.value) {
			problems = append(problems, problem.New(c.flag, "%q is not %s", c.value, c.example)...)
		}
	}
	return problems
}

// loginPackages are the packages that the settings of logins and of the language need.
func (s Spec) loginPackages() []string {
	var packages []string
	for _, need := range []struct {
		set      bool
		packages []string
	}{
		{len(s.o.namedKeys()) > 0, []string{"openssh-server"}},
		{s.o.CloudInit, []string{"cloud-init"}},
		{s.o.Timezone != "", []string{"tzdata"}},
		{s.o.Locale != "", []string{"locales"}},
		{s.o.Keymap != "", []string{"console-setup", "keyboard-configuration"}},
	} {
		if need.set {
			packages = append(packages, need.packages...)
		}
	}
	return packages
}

// loginSteps are the steps of these settings.
func loginSteps(o Options, lock Lock) []step.Step {
	var steps []step.Step
	for _, p := range o.PasswordHashes {
		steps = append(steps, step.PasswordHash{User: p.User, Hash: p.Hash})
	}
	users := []string{rootUser}
	for _, u := range o.Users {
		users = append(users, u.Name)
	}
	for _, user := range users {
		keys := step.SSHKeys{User: user}
		for _, name := range o.SSHKeyFiles(user) {
			keys.Files, keys.Digests = append(keys.Files, lock.Copy(name)), append(keys.Digests, lock.inputDigest(name))
		}
		if len(keys.Files) > 0 {
			steps = append(steps, keys)
		}
	}
	if o.Timezone != "" {
		steps = append(steps, step.Timezone{Name: o.Timezone})
	}
	if o.Locale != "" {
		steps = append(steps, step.Locale{Name: o.Locale})
	}
	if o.Keymap != "" {
		layout, variant, _ := strings.Cut(o.Keymap, ":")
		steps = append(steps, step.Keymap{Layout: layout, Variant: variant})
	}
	return steps
}
