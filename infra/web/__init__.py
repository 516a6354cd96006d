"""HTTP: application factory, authentication, problem documents."""
