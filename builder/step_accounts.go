package builder

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
)

// rootPasswordStep applies the rules of the manual: a password, else a locked account, else an empty password.
type rootPasswordStep struct {
	base
	Password Secret
	Lock     bool
}

func (rootPasswordStep) Kind() string { return "root.password" }

func (r rootPasswordStep) Title() string {
	switch {
	case !r.Password.IsZero():
		return "set the root password"
	case r.Lock:
		return "lock the root account"
	default:
		return "give root an empty password"
	}
}

func (r rootPasswordStep) run(ctx context.Context, s *site) error {
	switch {
	case !r.Password.IsZero():
		return setPassword(ctx, s, "root", r.Password)
	case r.Lock:
		return s.inTarget(ctx, "passwd", "-q", "-l", "root")
	default:
		return s.inTarget(ctx, "passwd", "-q", "-d", "root")
	}
}

// userStep creates an account.
type userStep struct {
	base
	User User
	Sudo bool
}

func (userStep) Kind() string { return "user" }

func (u userStep) Title() string { return "create the user " + u.User.Name }

func (u userStep) run(ctx context.Context, s *site) error {
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

// setPassword hashes a password in the target and stores the hash. Both programs get what they need on their standard
// input, so that it is in no argument list.
func setPassword(ctx context.Context, s *site, name string, password Secret) error {
	hash, err := hashPassword(ctx, s, name, password)
	if err == nil {
		err = s.inTargetWith(ctx, nil, name+":"+hash+"\n", "chpasswd", "--encrypted")
	}
	if err != nil {
		return fmt.Errorf("set the password of %s: %w", name, err)
	}
	return nil
}

// Settings of crypt(5) that hashes begin with; a salt follows. The first is Debian's default since bullseye, with the
// cost that pam_unix(8) uses.
const (
	settingYescrypt = "$y$j9T$"
	settingSHA512   = "$6$"
)

// commonPassword says in each Debian how passwd(1) hashes: "pam_unix.so obscure yescrypt".
const commonPassword = "/etc/pam.d/common-password"

// hashProgram reads a password and a setting, a line each, and prints the hash. perl-base is essential in Debian, and its
// crypt is that of the suite's own libcrypt; chpasswd(8) would take salts and dates from nowhere but chance and today.
const hashProgram = `chomp(my ($password, $setting) = <STDIN>); print crypt($password, $setting)`

// hashPassword gives the hash that the suite itself would make, with a salt that comes from the seed: random, unless the
// same image is wanted each time.
func hashPassword(ctx context.Context, s *site, name string, password Secret) (string, error) {
	pam, err := s.target.ReadFile(commonPassword)
	if err != nil {
		return "", err
	}
	setting := settingSHA512
	if bytes.Contains(pam, []byte("yescrypt")) {
		setting = settingYescrypt
	}
	setting += salt(s.seed, name)
	var hash bytes.Buffer
	stdin := strings.NewReader(password.Reveal() + "\n" + setting + "\n")
	if err := s.target.Run(ctx, s.command("perl", "-e", hashProgram), nil, stdin, &hash); err != nil {
		return "", fmt.Errorf("hash it: %w", err)
	}
	if !strings.HasPrefix(hash.String(), setting) {
		return "", fmt.Errorf("hash it: crypt(3) of the image does not know %q", setting)
	}
	return hash.String(), nil
}

// salt is 12 bytes in 16 characters, the most that SHA-512 takes, in the alphabet of crypt(5). It is another one for each
// account, so that equal passwords do not show.
func salt(seed uuid.UUID, name string) string {
	const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	sum := sha256.Sum256(slices.Concat(seed[:], []byte("salt of "+name)))
	return base64.NewEncoding(alphabet).EncodeToString(sum[:12])
}
