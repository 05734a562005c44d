"""Operations at a registry that store nothing here."""
