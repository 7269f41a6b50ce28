package builder

import (
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/boot"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/problem"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/secret"
	"github.com/vmdebootstrap/vmdebootstrap/builder/internal/step"
)

// What callers of this package name of the rooms below it.
type (
	// Problem is one mistake in the Options.
	Problem = problem.Problem
	// Secret is a text that must not be seen.
	Secret = secret.Text
	// URL is a URL that may hold credentials.
	URL = secret.URL
	// User is one account that --user asks for.
	User = step.User
	// Step is one action on the root file system.
	Step = step.Step
	// StepError says which step failed.
	StepError = step.Error
)

// NewSecret keeps a text that must not be seen.
func NewSecret(text string) Secret { return secret.New(text) }

// NewURL keeps a text that should be a URL.
func NewURL(text string) URL { return secret.NewURL(text) }

// ParseUser reads NAME or NAME/PASSWORD; the password begins after the first slash and may hold others.
func ParseUser(text string) User { return step.ParseUser(text) }

// BootLoaders lists the values of --boot.
func BootLoaders() []string { return boot.Words() }
