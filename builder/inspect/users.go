// SPDX-License-Identifier: Apache-2.0

package inspect

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/vmdebootstrap/vmdebootstrap/diskimage"
)

// User is an account that can log in: it has a shell, and a password or keys for ssh.
type User struct {
	Name  string `json:"name"`
	ID    string `json:"id"`
	Shell string `json:"shell"`
	// Password is one of the Password constants. The hash itself is never part of a report.
	Password string `json:"password"`
	// Keys is the number of keys in ~/.ssh/authorized_keys.
	Keys int `json:"ssh_keys"`
}

// String returns the name, and in parentheses how the user can log in.
func (u User) String() string {
	if u.Keys > 0 {
		return fmt.Sprintf("%s (password %s, %d ssh keys)", u.Name, u.Password, u.Keys)
	}
	return fmt.Sprintf("%s (password %s)", u.Name, u.Password)
}

// The values of User.Password.
const (
	PasswordSet    = "set"
	PasswordEmpty  = "empty"
	PasswordLocked = "locked" // no text is the password
)

// noShells end at once (nologin(8), and the accounts of base-passwd).
var noShells = []string{"nologin", "false", "sync", "halt", "shutdown"}

// users reads passwd(5) and shadow(5), in the order of the former.
func users(index diskimage.Index) ([]User, error) {
	found := []User{}
	text, err := accounts(index, "etc/passwd")
	if err != nil {
		return nil, err
	}
	shadow, err := accounts(index, "etc/shadow")
	if err != nil {
		return nil, err
	}
	hashes := map[string]string{}
	for _, fields := range shadow {
		if len(fields) > 1 {
			hashes[fields[0]] = fields[1]
		}
	}
	for _, fields := range text {
		if len(fields) < 7 {
			continue
		}
		u := User{Name: fields[0], ID: fields[2], Shell: fields[6]}
		if u.Shell == "" {
			u.Shell = "/bin/sh" // getpwnam(3)
		}
		hash := fields[1]
		if hash == "x" {
			var listed bool
			if hash, listed = hashes[u.Name]; !listed {
				hash = "*"
			}
		}
		u.Password = passwordState(hash)
		u.Keys = keys(index, path.Join(fields[5], ".ssh/authorized_keys"))
		if !slices.Contains(noShells, path.Base(u.Shell)) && (u.Password != PasswordLocked || u.Keys > 0) {
			found = append(found, u)
		}
	}
	return found, nil
}

// passwordState returns what the second field of shadow(5) allows. A hash of crypt(5) begins with $, or is one of DES
// with 13 characters; ! before it locks it.
func passwordState(hash string) string {
	const desLength = 13
	switch {
	case hash == "":
		return PasswordEmpty
	case strings.HasPrefix(hash, "$") || len(hash) == desLength && !strings.ContainsAny(hash, "*!"):
		return PasswordSet
	}
	return PasswordLocked
}

// accounts returns the fields of each line of a file, which need not exist.
func accounts(index diskimage.Index, name string) ([][]string, error) {
	text, err := index.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read /%s: %w", name, err)
	}
	var lines [][]string
	for line := range strings.Lines(string(text)) {
		lines = append(lines, strings.Split(strings.TrimSuffix(line, "\n"), ":"))
	}
	return lines, nil
}

// keys counts the keys of an authorized_keys file (sshd(8)).
func keys(index diskimage.Index, name string) int {
	text, err := index.ReadFile(name)
	if err != nil {
		return 0
	}
	count := 0
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			count++
		}
	}
	return count
}
