package builder

import (
	"context"
	"fmt"
)

// rootPasswordStep applies the rules of the manual: a password, else a locked account, else an empty password.
type rootPasswordStep struct {
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

// setPassword hands the password to chpasswd(8) on its standard input, so that it is in no argument list, and the
// suite's own default hash is used.
func setPassword(ctx context.Context, s *site, name string, password Secret) error {
	if err := s.inTargetWith(ctx, nil, name+":"+password.Reveal()+"\n", "chpasswd"); err != nil {
		return fmt.Errorf("set the password of %s: %w", name, err)
	}
	return nil
}
