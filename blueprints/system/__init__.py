"""Operations of the engine itself."""
