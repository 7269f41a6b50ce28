// SPDX-License-Identifier: Apache-2.0

package step

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
)

// RootPassword sets a password for root, else locks the account, else sets an empty password, as the manual says.
type RootPassword struct {
	base
	Password secret.Text
	Lock     bool
}

func (RootPassword) Kind() string { return "root.password" }

func (r RootPassword) Title() string {
	switch {
	case !r.Password.IsZero():
		return "set the root password"
	case r.Lock:
		return "lock the root account"
	default:
		return "give root an empty password"
	}
}

func (r RootPassword) Run(ctx context.Context, s *Context) error {
	switch {
	case !r.Password.IsZero():
		return setPassword(ctx, s, "root", r.Password)
	case r.Lock:
		return s.inTarget(ctx, "passwd", "-q", "-l", "root")
	default:
		return s.inTarget(ctx, "passwd", "-q", "-d", "root")
	}
}

// AddUser creates an account.
type AddUser struct {
	base
	User User
	Sudo bool
}

func (AddUser) Kind() string { return "user" }

func (u AddUser) Title() string { return "create the user " + u.User.Name }

func (u AddUser) Run(ctx context.Context, s *Context) error {
	name := u.User.Name
	if err := s.inTarget(ctx, "adduser", "--quiet", "--gecos", name, "--disabled-password", name); err != nil {
		return err
	}
	if u.Sudo {
		if err := s.inTarget(ctx, "adduser", "--quiet", name, "sudo"); err != nil {
			return err
		}
	}
	if u.User.HasPassword && !u.User.Password.IsZero() {
		return setPassword(ctx, s, name, u.User.Password)
	}
	return s.inTarget(ctx, "passwd", "-q", "-d", name)
}

// setPassword hashes a password in the target and stores the hash. Both programs read their input from standard input,
// so that it is in no argument list.
func setPassword(ctx context.Context, s *Context, name string, password secret.Text) error {
	hash, err := hashPassword(ctx, s, name, password)
	if err == nil {
		err = s.InTargetWith(ctx, nil, name+":"+hash+"\n", "chpasswd", "--encrypted")
	}
	if err != nil {
		return fmt.Errorf("set the password of %s: %w", name, err)
	}
	return nil
}

// Prefixes of hashes in crypt(5); a salt follows. yescrypt is Debian's default since bullseye, here with the cost that
// pam_unix(8) uses.
const (
	settingYescrypt = "$y$j9T$"
	settingSHA512   = "$6$"
)

// CommonPassword is the file that sets the hash method of passwd(1) in Debian: "pam_unix.so obscure yescrypt".
const CommonPassword = "/etc/pam.d/common-password"

// HashProgram reads a password and a setting, a line each, and prints the hash. perl-base is essential in
// Debian, and its crypt uses the suite's own libcrypt. chpasswd(8) itself would use a random salt and the
// current date.
const HashProgram = `chomp(my ($password, $setting) = <STDIN>); print crypt($password, $setting)`

// hashPassword returns the hash that the suite itself would make. The salt comes from the seed, which is random unless
// the build is reproducible.
func hashPassword(ctx context.Context, s *Context, name string, password secret.Text) (string, error) {
	pam, err := s.Target.ReadFile(CommonPassword)
	if err != nil {
		return "", err
	}
	setting := settingSHA512
	if bytes.Contains(pam, []byte("yescrypt")) {
		setting = settingYescrypt
	}
	setting += Salt(s.Seed, name)
	var hash bytes.Buffer
	stdin := strings.NewReader(password.Reveal() + "\n" + setting + "\n")
	if err := s.Target.Run(ctx, s.Command("perl", "-e", HashProgram), nil, stdin, &hash); err != nil {
		return "", fmt.Errorf("hash the password: %w", err)
	}
	if !strings.HasPrefix(hash.String(), setting) {
		return "", fmt.Errorf("hash the password: crypt(3) of the image does not support %q", setting)
	}
	return hash.String(), nil
}

// Salt returns 12 bytes as 16 characters, the maximum for SHA-512, in the alphabet of crypt(5). Each account
// has another salt, so that equal passwords do not have equal hashes.
func Salt(seed uuid.UUID, name string) string {
	const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256(slices.Concat(seed[:], []byte("salt of "+name)))
	return base64.NewEncoding(alphabet).EncodeToString(sum[:12])
}

// User is an account of --user.
type User struct {
	Name string
	// Password is the initial password. HasPassword distinguishes an empty one (NAME/) from none (NAME).
	Password    secret.Text
	HasPassword bool
}

// ParseUser parses NAME or NAME/PASSWORD. The password begins after the first slash and may contain others.
func ParseUser(text string) User {
	name, password, has := strings.Cut(text, "/")
	return User{Name: name, Password: secret.New(password), HasPassword: has}
}

// String returns the text that ParseUser parses, with the password hidden.
func (u User) String() string {
	if !u.HasPassword {
		return u.Name
	}
	return u.Name + "/" + u.Password.String()
}
