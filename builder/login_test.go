// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"slices"
	"strings"
	"testing"
)

// testSSHKey is a public key.
const testSSHKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIuBVVbLjJDYVr8vTnDi6WfFsgGlVIBe6Xj1V6lYmXGZ alice@example\n"

// The file may be the wrong one: nothing of it is shown.
func TestFilesOfSSHKeysAreRead(t *testing.T) {
	t.Parallel()
	const key = testSSHKey
	for text, want := range map[string]string{
		key: "",
		"# team\n\n" + key + "restrict,command=\"true\" " + key: "",
		"-----BEGIN OPENSSH PRIVATE KEY-----\ns3cret\n":         "private key; name the file of the public key",
		"":                     "has no public key",
		"# nothing\n":          "has no public key",
		key + "s3cret token\n": "line 2 is not a public key",
	} {
		err := checkSSHKeys([]byte(text))
		if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "s3cret") {
			t.Errorf("the error shows the file: %v", err)
		}
	}
}

func TestHashesOfPasswords(t *testing.T) {
	t.Parallel()
	p, err := ParsePasswordHash("alice:$y$j9T$salt$hash")
	if err != nil || p.User != "alice" || p.Hash.Reveal() != "$y$j9T$salt$hash" || p.String() != "alice:(secret)" {
		t.Errorf("got %+v, %v", p, err)
	}
	for _, text := range []string{"$6$salt$hash", ":$6$a$b"} {
		if _, err := ParsePasswordHash(text); err == nil || strings.Contains(err.Error(), "salt") {
			t.Errorf("%s: got %v", text, err)
		}
	}
}

// Issue 19, 5: --ssh-key is for the users, or for root if there are none; --authorized-keys is for one account.
func TestKeysOfEachAccount(t *testing.T) {
	t.Parallel()
	k, err := ParseAuthorizedKeys("root:/keys/a:b.pub")
	if want := (AuthorizedKeys{"root", "/keys/a:b.pub"}); err != nil || k != want || k.String() != "root:/keys/a:b.pub" {
		t.Errorf("got %+v, %v, want %+v", k, err, want)
	}
	for _, text := range []string{"id.pub", ":id.pub", "root:"} {
		if _, err := ParseAuthorizedKeys(text); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	o := Options{SSHKeys: []string{"team"}, AuthorizedKeys: []AuthorizedKeys{{"root", "r"}, {"bob", "b"}, {"root", "s"}}}
	if got, want := o.SSHKeyFiles("root"), []string{"team", "r", "s"}; !slices.Equal(got, want) {
		t.Errorf("root alone has %q, want %q", got, want)
	}
	o.Users = []User{{Name: "alice"}, {Name: "bob"}}
	for user, want := range map[string][]string{"root": {"r", "s"}, "alice": {"team"}, "bob": {"team", "b"}} {
		if got := o.SSHKeyFiles(user); !slices.Equal(got, want) {
			t.Errorf("%s has %q, want %q", user, got, want)
		}
	}
}

func TestUserDataSaysWhatItIs(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"#cloud-config\nusers: []\n": true, "#!/bin/sh\n": true, "Content-Type: multipart/mixed": true,
		"users: []\n": false, "": false, " #cloud-config\n": false,
	} {
		if got := isUserData([]byte(text)); got != want {
			t.Errorf("%q: got %t", text, got)
		}
	}
}
